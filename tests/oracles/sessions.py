"""The digest of every day by SQL over Parquet files, in ClickHouse's dialect and in DuckDB's.

Written from what `activity/session.py` and `activity/rollup.py` say in words, and importing nothing of the product;
`tests/oracles/digest.py` is the same as a plain loop. The engines find the sessions, write their lines and hash them;
only the number of a site comes from here, as neither of them has BLAKE2b.
"""

from __future__ import annotations

import hashlib
import json

import chdb
import duckdb

Digests = dict[tuple[str, str], str]

GAP = 30 * 60_000
DAY = 24 * 3_600_000

# What tells the least of several copies, in this order.
_COPIES = (
    "received_at, occurred_at, type, interactive, engaged_ms, path, \"user\", referrer, source, medium, channel, "
    "utm_campaign, country, region, city, browser, os, device, language"
)
_ENTRY = (
    "referrer", "source", "medium", "channel", "utm_campaign", "country", "region", "city", "browser", "os", "device",
    "language",
)  # fmt: skip
_TELLING = "type = 'pageview' OR source != '' OR medium != '' OR utm_campaign != ''"
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def by_clickhouse(files: str) -> Digests:
    """SHA-256 by site and day of the Parquet files of a glob pattern."""
    source = f"file('{files}', Parquet)"
    sites = [row["site"] for row in _asked(f"SELECT DISTINCT site FROM {source}")]
    if not sites:
        return {}
    numbers = ", ".join(f"toUInt64({_number(site)})" for site in sites)
    named = f"transform(site, [{', '.join(map(_quoted, sites))}], [{numbers}], toUInt64(0))"
    entry = [f"argMin({name}, if({_TELLING}, n, n + 1000000000)) AS e_{name}" for name in _ENTRY]
    fields = [
        "leftPad(lower(hex(visitor)), 16, '0')", "leftPad(lower(hex(ident)), 16, '0')", "started", "ended", "events",
        "views", "searches", "interactions", "engaged", _escaped("entry", "replaceAll"), _escaped("exit", "replaceAll"),
        "toUInt8(interactions <= 1)", "toUInt8(engaged > 10000 OR views >= 2)", "toUInt8(events > 10000)",
        _escaped("who", "replaceAll"), *(_escaped(f"e_{name}", "replaceAll") for name in _ENTRY),
    ]  # fmt: skip
    line = ", '\\t', ".join(f"toString({field})" for field in fields)
    found = _asked(f"""
        WITH numbered AS (
            SELECT *, row_number() OVER (PARTITION BY site, visitor, id_hi, id_lo ORDER BY {_COPIES}) AS copy
            FROM {source}
        ),
        ordered AS (
            SELECT *, row_number() OVER w AS n, lagInFrame(occurred_at, 1, -{2 * GAP}) OVER w AS before
            FROM numbered WHERE copy = 1 AND bot = ''
            WINDOW w AS (
                PARTITION BY site, visitor ORDER BY occurred_at, id_hi, id_lo
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            )
        ),
        chained AS (
            SELECT *, sum(occurred_at - before > {GAP}) OVER (
                PARTITION BY site, visitor ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS chain FROM ordered
        ),
        begun AS (SELECT *, min(occurred_at) OVER (PARTITION BY site, visitor, chain) AS chain_begun FROM chained),
        cut AS (
            SELECT *, intDiv(occurred_at, {DAY}) * {DAY} AS midnight,
                occurred_at - before > {GAP} OR (before < midnight AND midnight - chain_begun >= {DAY}) AS starts
            FROM begun
        ),
        visits AS (
            SELECT *, sum(starts) OVER (
                PARTITION BY site, visitor ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS visit FROM cut
        ),
        formed AS (
            SELECT site, visitor, argMin(id_hi, n) AS first_hi, argMin(id_lo, n) AS first_lo,
                min(occurred_at) AS started, max(occurred_at) AS ended, count() AS events,
                countIf(type = 'pageview') AS views, countIf(type = 'search') AS searches,
                countIf(interactive) AS interactions, sum(engaged_ms) AS engaged,
                argMinIf(path, n, type = 'pageview') AS entry, argMaxIf(path, n, type = 'pageview') AS exit,
                argMaxIf(user, n, user != '') AS who, {", ".join(entry)}
            FROM visits GROUP BY site, visitor, visit
        ),
        identified AS (SELECT *, {_identified_by_clickhouse(named)} FROM formed),
        lines AS (SELECT site, intDiv(started, {DAY}) AS day, concat({line}, '\\n') AS line FROM identified)
        SELECT site, toString(toDate(day)) AS date,
            lower(hex(SHA256(arrayStringConcat(arraySort(groupArray(line)))))) AS sha256
        FROM lines GROUP BY site, day""")
    return {(row["site"], row["date"]): row["sha256"] for row in found}


def by_duckdb(files: str) -> Digests:
    """SHA-256 by site and day of the Parquet files of a glob pattern."""
    with duckdb.connect() as engine:
        source = f"read_parquet('{files}', hive_partitioning = false, union_by_name = true)"
        sites = [site for (site,) in engine.sql(f"SELECT DISTINCT site FROM {source}").fetchall()]
        if not sites:
            return {}
        engine.execute("CREATE TABLE sites (site VARCHAR, number UBIGINT)")
        engine.executemany("INSERT INTO sites VALUES (?, ?)", [(site, _number(site)) for site in sites])
        engine.execute(f"""
            CREATE MACRO times(a, b) AS ((a::UHUGEINT * b::UHUGEINT) % 18446744073709551616::UHUGEINT)::UBIGINT;
            CREATE MACRO step(z, bits, factor) AS times(xor(z, z >> bits), factor);
            CREATE MACRO last(z) AS xor(z, z >> 31);
            CREATE MACRO mix(z) AS last(step(step(z, 30, {_FIRST}), 27, {_SECOND}));
            CREATE MACRO hex16(z) AS lpad(lower(to_hex(z)), 16, '0');
        """)
        ident = "mix(xor(mix(xor(mix(xor(number, visitor)), first_hi)), first_lo))"
        entry = [f"arg_min({name}, CASE WHEN {_TELLING} THEN n ELSE n + 1000000000 END) AS e_{name}" for name in _ENTRY]
        fields = [
            "hex16(visitor)", f"hex16({ident})", "started", "ended", "events", "views", "searches", "interactions",
            "engaged", _escaped("entry", "replace"), _escaped("exit", "replace"), "(interactions <= 1)::INT",
            "(engaged > 10000 OR views >= 2)::INT", "(events > 10000)::INT", _escaped("who", "replace"),
            *(_escaped(f"e_{name}", "replace") for name in _ENTRY),
        ]  # fmt: skip
        found = engine.execute(f"""
            WITH once AS (
                SELECT * FROM {source}
                QUALIFY row_number() OVER (PARTITION BY site, visitor, id_hi, id_lo ORDER BY {_COPIES}) = 1
            ),
            ordered AS (
                SELECT *, row_number() OVER w AS n, lag(occurred_at) OVER w AS before FROM once WHERE bot = ''
                WINDOW w AS (PARTITION BY site, visitor ORDER BY occurred_at, id_hi, id_lo)
            ),
            gaps AS (SELECT *, before IS NULL OR occurred_at - before > {GAP} AS gap FROM ordered),
            chained AS (
                SELECT *, max(CASE WHEN gap THEN occurred_at END) OVER (PARTITION BY site, visitor ORDER BY n) AS begun,
                    occurred_at // {DAY} * {DAY} AS midnight
                FROM gaps
            ),
            visits AS (
                SELECT *, sum(CASE WHEN gap OR (before < midnight AND midnight - begun >= {DAY}) THEN 1 ELSE 0 END)
                    OVER (PARTITION BY site, visitor ORDER BY n) AS visit
                FROM chained
            ),
            formed AS (
                SELECT site, visitor, arg_min(id_hi, n) AS first_hi, arg_min(id_lo, n) AS first_lo,
                    min(occurred_at) AS started, max(occurred_at) AS ended, count(*) AS events,
                    count(*) FILTER (type = 'pageview') AS views, count(*) FILTER (type = 'search') AS searches,
                    count(*) FILTER (interactive) AS interactions, sum(engaged_ms)::BIGINT AS engaged,
                    coalesce(arg_min(path, n) FILTER (type = 'pageview'), '') AS entry,
                    coalesce(arg_max(path, n) FILTER (type = 'pageview'), '') AS exit,
                    coalesce(arg_max("user", n) FILTER ("user" != ''), '') AS who, {", ".join(entry)}
                FROM visits GROUP BY site, visitor, visit
            ),
            lines AS (
                SELECT site, started // {DAY} AS day, concat_ws(chr(9), {", ".join(fields)}) || chr(10) AS line
                FROM formed JOIN sites USING (site)
            )
            SELECT site, strftime(make_date(day::INT), '%Y-%m-%d'), sha256(string_agg(line, '' ORDER BY line))
            FROM lines GROUP BY site, day""").fetchall()
    return {(site, day): digest for site, day, digest in found}


def _asked(statement: str) -> list[dict[str, str]]:
    settings = (
        "output_format_json_quote_64bit_integers = 1, schema_inference_make_columns_nullable = 0, "
        "use_hive_partitioning = 0"
    )
    answer = str(chdb.query(f"{statement} SETTINGS {settings}", "JSONEachRow"))
    return [json.loads(line) for line in answer.splitlines()]


def _number(site: str) -> int:
    return int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest(), "big")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identified_by_clickhouse(site: str) -> str:
    """Columns that lead to `ident`, the id of a session; each is made of those before it."""
    steps, last = [], site
    for part in ("visitor", "first_hi", "first_lo"):
        steps += [
            f"bitXor({last}, {part}) AS {part}_0",
            f"bitXor({part}_0, bitShiftRight({part}_0, 30)) * toUInt64({_FIRST}) AS {part}_1",
            f"bitXor({part}_1, bitShiftRight({part}_1, 27)) * toUInt64({_SECOND}) AS {part}_2",
            f"bitXor({part}_2, bitShiftRight({part}_2, 31)) AS {part}_3",
        ]
        last = f"{part}_3"
    return ", ".join([*steps, f"{last} AS ident"])


def _escaped(column: str, replace: str) -> str:
    """The column with backslash, tab, newline and carriage return as two characters each."""
    backslash = "chr(92)" if replace == "replace" else "char(92)"
    code = "chr" if replace == "replace" else "char"
    text = f"{replace}({column}, {backslash}, concat({backslash}, {backslash}))"
    for number, letter in ((9, "t"), (10, "n"), (13, "r")):
        text = f"{replace}({text}, {code}({number}), concat({backslash}, '{letter}'))"
    return text
