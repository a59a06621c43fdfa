"""What a user's statement may do: put one question to this database's tables, within limits, and nothing else.

There are three walls, and this is the first: every statement is inspected before it runs, and never as it was sent.
The engine's own parser formats it (`formatQuery`). That leaves one statement without comments, in which every literal
and identifier is quoted in one way; formatted a second time it must stay as it is. This text is inspected, and this
text runs, with parameters that the engine alone binds. So inspection and engine cannot disagree about where a string
ends. Functions are refused by name wherever the name stands, because `arrayMap(file, …)` and `APPLY file` call a
function without a parenthesis. Table functions need the parenthesis; they are refused unless they are known to read
nothing.

The second wall is the engine's: these connections are read-only for good, with limits on time, memory and the result.
It has gaps in the embedded engine, where everybody is the default user: the scalar function `file` reads any file,
INTO OUTFILE writes one. So the third wall is a process without files and network, `stores.read_only.process`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from stores.base import QueryRefused

# Table functions that make rows out of nothing or out of a subquery that is inspected like the rest.
HARMLESS_SOURCES = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "primes", "values"}
    | {"null", "view", "viewexplain", "sqlstandardvalues"}
)
# What a client asks to find its way about; descriptions of this server, no data of others.
OPEN_SYSTEM_TABLES = frozenset(
    {"one", "numbers", "databases", "tables", "columns", "functions", "formats", "settings", "data_type_families"}
    | {"table_engines", "keywords", "time_zones", "contributors", "licenses"}
)
CLOSED_CATEGORIES = ("AI", "Dictionary", "Embedded Dictionary", "Introspection")
CLOSED_FUNCTIONS = frozenset(
    {"file", "joinget", "joingetornull", "getserversetting", "getmergetreesetting", "getmacro", "hascolumnintable"}
    | {"generateserialid", "logtrace", "catboostevaluate", "naivebayesclassifier", "getclienthttpheader"}
    | {"filesystemavailable", "filesystemcapacity", "filesystemunreserved", "sleep", "sleepeachrow"}
)

# Settings that a client may choose for a statement: what an answer looks like, and tighter limits. Each was looked at;
# others of these names are not harmless (`output_format_schema` writes a file).
CHOSEN = frozenset(
    {"session_timezone", "date_time_output_format", "join_use_nulls", "extremes", "limit", "offset"}
    | {"max_result_rows", "max_execution_time", "result_overflow_mode", "output_format_write_statistics"}
    | {f"output_format_json_{name}" for name in ("quote_64bit_integers", "quote_64bit_floats", "quote_denormals")}
    | {f"output_format_json_{name}" for name in ("named_tuples_as_objects", "array_of_rows", "quote_decimals")}
    | {f"output_format_arrow_{name}" for name in ("string_as_string", "compression_method")}
    | {f"output_format_parquet_{name}" for name in ("string_as_string", "compression_method")}
    | {"output_format_arrow_low_cardinality_as_dictionary", "output_format_csv_crlf_end_of_line"}
    | {"output_format_binary_write_json_as_string", "output_format_pretty_color"}
)

MAX_STATEMENT = 100_000
MAX_PARAMETERS = 100
MAX_NAME = 64
# Beside parameters only: where one of these stands, the client of a server looks through the rest of the text.
MAX_BRACES = 1000

_FORMATTED = "SELECT formatQuerySingleLine({text:String})"
_WRITINGS = 4
_BRACKETED = ("Array", "Map", "Tuple", "Nested", "Point", "Ring", "Polygon", "MultiPolygon", "LineString")
_NULL = ("Nullable", "\\N")
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})

_OPENING = re.compile(
    r"\(|(?:SELECT|WITH|EXISTS TABLE|EXISTS VIEW|DESCRIBE TABLE)\b"
    r"|EXPLAIN (?:(?:AST|SYNTAX|QUERY TREE|PLAN|PIPELINE|ESTIMATE) )?(?:\w+ = \d+(?:, \w+ = \d+)* )?"
    r"(?:SELECT\b|WITH\b|\()"
    r"|SHOW (?:FULL )?(?:TABLES|COLUMNS|DATABASES|INDEXES|FUNCTIONS)\b|SHOW CREATE (?:TABLE|VIEW)\b"
)
# Possessive, and reading ends at the first quote that is not closed: a text of any kind takes linear time.
_TOKEN = re.compile(
    r"(?P<text>'(?:[^'\\]|\\.|'')*+')"
    r"|(?P<quoted>`(?:[^`\\]|\\.|``)*+`|\"(?:[^\"\\]|\\.|\"\")*+\")"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<other>\S)",
    re.DOTALL,
)
_FORMAT = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_SETTING = re.compile(r"[A-Za-z0-9_+./-]{0,64}")


@dataclass(frozen=True)
class Limits:
    """Seconds a statement may take, rows and bytes of its answer, bytes of memory while it runs."""

    seconds: int
    rows: int
    bytes: int
    memory: int

    def settings(self, chosen: Mapping[str, str] | None = None) -> dict[str, str]:
        """The engine's settings for these limits, with `chosen` ones, which keep to the limits.

        Read-only comes last: after it nothing can be set, even by us."""
        return {
            "max_execution_time": str(self.seconds),
            "timeout_overflow_mode": "throw",
            "max_memory_usage": str(self.memory),
            "max_temporary_data_on_disk_size_for_query": str(self.memory),
            "max_result_rows": str(self.rows),
            "max_result_bytes": str(self.bytes),
            "result_overflow_mode": "throw",
            "session_timezone": "UTC",
            "output_format_json_validate_utf8": "1",
            **(chosen or {}),
            "readonly": "1",
        }

    def took_too_long(self) -> str:
        return f"it took over {self.seconds} s: ask for fewer days or one site"

    def needs_too_much(self) -> str:
        return f"it needs over {self.memory >> 20} MB: group by less, or ask for fewer days"

    def answers_too_much(self) -> str:
        return f"its answer has over {self.rows} rows or {self.bytes >> 20} MB: add a LIMIT"


@dataclass(frozen=True)
class Token:
    """A word, a quoted name, a text or a sign of a statement; `value` is without quotes for a quoted name."""

    kind: str
    value: str

    @property
    def is_name(self) -> bool:
        """Whether it can name something: a function, table, column, database or keyword."""
        return self.kind in ("word", "quoted")


@dataclass(frozen=True)
class Rules:
    """What this server has that users' statements must not touch; all names in lower case."""

    databases: frozenset[str]
    sources: frozenset[str]
    functions: frozenset[str]


class Sent(NamedTuple):
    """A statement as it came: `fmt` is for one that names none, `escaped` parameters are for the engine as they are."""

    statement: str
    fmt: str
    params: dict[str, str]
    escaped: bool
    settings: dict[str, str]


class Question(NamedTuple):
    """The text that runs, word for word, the format of its answer, and the parameters as the engine reads them."""

    text: str
    fmt: str
    params: dict[str, str]


# Statement, format and parameters of a `Question`; raises what the engine says as `EngineError`.
Ask = Callable[[str, str, Mapping[str, str]], bytes]


class EngineError(Exception):
    """The first line of what the engine said."""


def refuse_oversized(statement: str, fmt: str, params: Mapping[str, str]) -> None:
    """Raise `QueryRefused` for a statement, format or parameters that are too long or no text."""
    if len(statement) > MAX_STATEMENT:
        raise QueryRefused(f"the statement has {len(statement)} characters; at most {MAX_STATEMENT} are read")
    if len(fmt) > MAX_NAME or not _FORMAT.fullmatch(fmt):
        raise QueryRefused(f"{fmt[:MAX_NAME]!r} is no output format: give one as in JSON, CSVWithNames or TabSeparated")
    if len(params) > MAX_PARAMETERS or sum(map(len, params.values())) > MAX_STATEMENT:
        raise QueryRefused(f"at most {MAX_PARAMETERS} parameters of {MAX_STATEMENT} characters together are read")
    for name in params:
        if len(name) > MAX_NAME:
            raise QueryRefused(f"the name of a parameter has at most {MAX_NAME} characters, not {len(name)}")
    try:
        "".join((statement, *params, *params.values())).encode()
    except UnicodeEncodeError as error:
        raise QueryRefused("half of a surrogate pair is no text: send the statement as UTF-8") from error


def chosen(settings: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """Settings that a client chose, within the limits. Raises `QueryRefused` for one that is not among `CHOSEN`."""
    found = {}
    most = {"max_result_rows": limits.rows, "max_execution_time": limits.seconds}
    for name, value in settings.items():
        if name not in CHOSEN:
            raise QueryRefused(f"the setting {name[:MAX_NAME]!r} is fixed for readers: leave it out", "READONLY")
        if not _SETTING.fullmatch(value):
            raise QueryRefused(f"the setting {name} has no such value: {value[:MAX_NAME]!r}", "BAD_ARGUMENTS")
        if name in most:
            wanted = int(value) if value.isdigit() else 0  # 0 is "no limit"
            value = str(min(wanted or most[name], most[name]))
        found[name] = value
    return found


def prepared(ask: Ask, sent: Sent, rules: Rules) -> Question:
    """The statement in the engine's own formatting, ready to run. Raises `QueryRefused` for what is not allowed."""
    text = _formatted(ask, sent.statement)
    tokens = inspect(text, rules)
    given = _written(sent.params, tokens, sent.escaped)
    fmt = sent.fmt
    if given and text.count("{") > MAX_BRACES:
        raise QueryRefused(f"a statement with parameters has at most {MAX_BRACES} braces, strings included")
    if len(tokens) > 2 and tokens[-2] == Token("word", "FORMAT") and tokens[-1].is_name:
        return Question(text, tokens[-1].value, given)
    return Question(f"{text}\nFORMAT {fmt}", fmt, given)


def inspect(text: str, rules: Rules) -> list[Token]:
    """The tokens of a statement in the engine's own formatting. Raises `QueryRefused` for what is not allowed."""
    if not _OPENING.match(text):
        first = " ".join(text.split()[:2])
        words = f"{first!r} is no question: only SELECT, WITH, EXPLAIN, SHOW, DESCRIBE and EXISTS are run"
        raise QueryRefused(words, "READONLY")
    tokens = _tokens(text)
    end = Token("other", "")
    shows = tokens[0].value == "SHOW"
    for before, token, after, third in zip(
        [end, *tokens], tokens, [*tokens[1:], end], [*tokens[2:], end, end], strict=False
    ):
        if not token.is_name:
            continue
        name = token.value.lower()
        if name == "identifier" and before.value == ":":
            raise QueryRefused("a parameter may stand for a value, not for a name: write the table or column out")
        if name in rules.functions:
            raise QueryRefused(f"the function {token.value} is not open to readers")
        if name in rules.sources and after.value == "(" and before.value != ".":
            raise QueryRefused(
                f"the table function {token.value} is not open to readers: ask the tables of this database,"
                " without files, URLs or other servers"
            )
        if name in rules.databases and before.value != "." and (shows or after.value == "."):
            if name == "system" and third.value.lower() in OPEN_SYSTEM_TABLES:
                continue
            raise QueryRefused(
                f"the database {token.value} is not open to readers: ask events, sessions, rollup_1m, rollup_1h or"
                " dead_letters by their plain names"
            )
        if token.kind == "word" and token.value == "SETTINGS" and after.is_name and third.value == "=":
            raise QueryRefused("settings are fixed for readers: leave the SETTINGS clause out", "READONLY")
        if token.kind == "word" and token.value == "INTO" and after.value == "OUTFILE":
            raise QueryRefused("an answer cannot be written to a file here: leave INTO OUTFILE out and save the answer")
        if token.kind == "word" and token.value == "PARALLEL" and after.value == "WITH":
            raise QueryRefused("one statement at a time: leave PARALLEL WITH out", "SYNTAX_ERROR")
    return tokens


def _written(params: Mapping[str, str], tokens: list[Token], escaped: bool) -> dict[str, str]:
    """Parameters as the engine reads them, which is how they came if they are `escaped`.

    Raises `QueryRefused` for one that the statement does not declare.

    The engine unescapes a text; a value with brackets it does not."""
    types: dict[str, str] = {}
    for brace, name, colon, kind in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        if brace == Token("other", "{") and name.kind == "word" and colon == Token("other", ":"):
            types.setdefault(name.value, kind.value)
    for strange in sorted(params.keys() - types.keys()):
        raise QueryRefused(
            f"the statement declares no parameter {strange!r}: write {{{strange}:String}} where its value goes",
            "BAD_ARGUMENTS",
        )
    if escaped:
        return dict(params)
    return {
        name: value if types[name] in _BRACKETED or (types[name], value) == _NULL else value.translate(_ESCAPED)
        for name, value in params.items()
    }


def _tokens(text: str) -> list[Token]:
    tokens = []
    for found in _TOKEN.finditer(text):
        token = Token(str(found.lastgroup), _value(found))
        if token.kind == "other" and token.value in "'`\"":
            raise QueryRefused("a quote is not closed")
        if token.kind == "other" and token.value == "$":  # where the engine may see the beginning of a string
            raise QueryRefused("a dollar sign stands in quotes only: use letters and digits in names")
        tokens.append(token)
    return tokens


def _value(found: re.Match[str]) -> str:
    if found.lastgroup != "quoted":
        return found[0]
    quote = found[0][0]
    return re.sub(r"\\(.)", r"\1", found[0][1:-1].replace(quote * 2, quote), flags=re.DOTALL)


def _formatted(ask: Ask, statement: str) -> str:
    """The statement as the engine formats it. Formatted again it must stay the same, or text and meaning differ."""
    text = statement
    try:
        for _ in range(_WRITINGS):
            before, text = text, ask(_FORMATTED, "RawBLOB", {"text": text.translate(_ESCAPED)}).decode()
            if text == before:
                return text
    except EngineError as error:
        reason = str(error).partition(": In scope")[0]
        raise QueryRefused(f"this is not one statement that can be read: {reason}", "SYNTAX_ERROR") from error
    except UnicodeDecodeError as error:
        raise QueryRefused("the statement has text that is not UTF-8: write such bytes as unhex('…')") from error
    raise QueryRefused("the statement can be read in more than one way: write it plainly, without odd quotes or names")


def rules(ask: Ask, database: str) -> Rules:
    """The rules for this server, from its own lists of databases, functions and table functions."""

    def names(sql: str) -> frozenset[str]:
        return frozenset(ask(sql, "TabSeparatedRaw", {}).decode().lower().split("\n")) - {""}

    categories = ", ".join(f"'{category}'" for category in CLOSED_CATEGORIES)
    return Rules(
        databases=(names("SELECT name FROM system.databases") | {"system", "information_schema"}) - {database.lower()},
        sources=names("SELECT name FROM system.table_functions") - HARMLESS_SOURCES,
        functions=names(f"SELECT name FROM system.functions WHERE categories IN ({categories})") | CLOSED_FUNCTIONS,
    )


def advice(message: str, limits: Limits) -> str:
    """What the engine said when it broke off a statement, with what to do about it."""
    for sign, words in {
        "TIMEOUT_EXCEEDED": limits.took_too_long(),
        "MEMORY_LIMIT_EXCEEDED": limits.needs_too_much(),
        "CANNOT_ALLOCATE_MEMORY": limits.needs_too_much(),
        "bad_alloc": limits.needs_too_much(),
        "TOO_MANY_ROWS_OR_BYTES": limits.answers_too_much(),
        "READONLY": "readers change nothing, settings included",
    }.items():
        if sign in message:
            return f"{words} ({message})"
    return message
