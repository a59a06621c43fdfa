"""What readers may ask, and the many ways round it that are shut."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from activity import columns, session
from stores.base import QueryRefused
from stores.read_only.inspection import CLOSED_FUNCTIONS
from stores.warehouse import Warehouse
from tests.stores import frames
from tests.stores.read_only import limited


@pytest.fixture(scope="module")
def asked(warehouse: Warehouse) -> Iterator[Warehouse]:
    warehouse.insert("event_rows", frames.marked(frames.events(100), 1), "read-only")
    warehouse.command("CREATE DATABASE other")
    warehouse.command("CREATE TABLE other.secret (a Int64) ENGINE = Memory")
    yield warehouse
    warehouse.command("DROP DATABASE other")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count() FROM events",
        "SELECT url, path, user FROM events WHERE site = 'a.example' AND path LIKE '/%' ORDER BY occurred_at LIMIT 3",
        "WITH x AS (SELECT path FROM events) SELECT path, count() FROM x GROUP BY path",
        "SELECT 'it''s; -- url(''x'') INTO OUTFILE', 1 /* file('x') */ -- SETTINGS a = 1",
        "SELECT $$file('/etc/passwd')$$ AS quoted",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT 1;",
        "EXPLAIN indexes = 1 SELECT count() FROM events",
        "EXPLAIN AST SELECT 1",
        "SHOW TABLES",
        "SHOW CREATE VIEW events",
        "DESCRIBE events",
        "DESC TABLE sessions",
        "EXISTS TABLE events",
        "SELECT name, type FROM system.columns WHERE table = 'events'",
        "SELECT e.path, s.entry_page FROM events AS e LEFT JOIN sessions AS s ON e.visitor = s.visitor LIMIT 1",
        "SELECT number FROM numbers(3)",
        "SELECT arrayMap(x -> x + 1, [1]), toDate('2024-01-01'), quantile(0.5)(engaged_ms) FROM events",
    ],
)
def test_questions_are_answered(asked: Warehouse, statement: str) -> None:
    assert asked.read_only(statement).body


def test_formats_and_parameters(asked: Warehouse) -> None:
    assert json.loads(asked.read_only("SELECT count() AS n FROM events", "JSONEachRow").body) == {"n": 100}
    assert asked.read_only("SELECT 1 AS a FORMAT CSVWithNames", "JSON").body == b'"a"\n1\n'
    hostile = "x' OR file('/etc/passwd') --"
    assert asked.read_only("SELECT {t:String} = {t:String}", params={"t": hostile}).body == b"1\n"
    assert asked.read_only("SELECT 1 AS format").body == b"1\n"
    assert asked.read_only("SELECT 1 FORMAT Null").body == b""
    with pytest.raises(QueryRefused, match="is no output format"):
        asked.read_only("SELECT 1", "JSON INTO OUTFILE 'x'")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("SELECT file('/etc/hostname')", "the function file is not open"),
        ("SELECT `file`('/etc/hostname')", "the function file is not open"),
        ("SELECT \"file\" /* x */ ('/etc/hostname')", "the function file is not open"),
        ("SELECT arrayMap(file, ['/etc/hostname'])", "the function file is not open"),
        ("SELECT * APPLY file FROM (SELECT '/etc/hostname')", "the function file is not open"),
        ("SELECT COLUMNS('x') APPLY(`file`) FROM (SELECT '/etc/hostname' AS x)", "the function file is not open"),
        ("WITH file AS f SELECT arrayMap(f, ['/etc/hostname'])", "the function file is not open"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "file is not open"),
        ("SELECT 1 IN file('x.csv')", "file is not open"),
        ("WITH x AS (SELECT * FROM file('a')) SELECT * FROM x", "file is not open"),
        ("SELECT (SELECT * FROM url('http://127.0.0.1/', 'LineAsString'))", "table function url is not open"),
        ("SELECT * FROM/**/Url\n(\n'http://127.0.0.1/', CSV, 'a String')", "table function Url is not open"),
        ("SELECT * FROM s3('http://127.0.0.1/x')", "table function s3 is not open"),
        ("SELECT * FROM remote('127.0.0.1', system.one)", "table function remote is not open"),
        ("SELECT * FROM cluster('x', other.secret)", "table function cluster is not open"),
        ("SELECT * FROM merge('other', '.*')", "table function merge is not open"),
        ("SELECT * FROM loop(other.secret)", "table function loop is not open"),
        ("SELECT * FROM executable('x', 'TSV', 'a String')", "table function executable is not open"),
        ("SELECT * FROM python(x)", "table function python is not open"),
        ("SELECT * FROM mergeTreeIndex('other', 'secret')", "mergeTreeIndex is not open"),
        ("SELECT * FROM sqlite('/x', 'y')", "table function sqlite is not open"),
        ("SELECT dictGet('other.d', 'a', 1)", "the function dictGet is not open"),
        ("SELECT joinGet('other.secret', 'a', 1)", "the function joinGet is not open"),
        ("SELECT aiGenerate('x', 'y')", "the function aiGenerate is not open"),
        ("SELECT getServerSetting('path')", "the function getServerSetting is not open"),
        ("SELECT sleep(3)", "the function sleep is not open"),
        ("SELECT * FROM other.secret", "the database other is not open"),
        ("SELECT * FROM `other` . /* */ `secret`", "the database other is not open"),
        ("SELECT 1 WHERE 1 IN other.secret", "the database other is not open"),
        ("SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM other.secret))", "the database other is not open"),
        ("EXPLAIN SELECT * FROM other.secret", "the database other is not open"),
        ("DESCRIBE other.secret", "the database other is not open"),
        ("SHOW TABLES FROM other", "the database other is not open"),
        ("SHOW TABLES IN `other`", "the database other is not open"),
        ("SHOW COLUMNS FROM secret FROM other", "the database other is not open"),
        ("SHOW CREATE TABLE other.secret", "the database other is not open"),
        ("SELECT * FROM default.`/etc/passwd`", "the database default is not open"),
        ("SELECT * FROM information_schema.tables", "the database information_schema is not open"),
        ("SELECT * FROM system.parts", "the database system is not open"),
        ("SELECT * FROM system.query_log", "the database system is not open"),
        ("SELECT * FROM {t:Identifier}", "for a value, not for a name"),
        ("SELECT * FROM {d : Identifier}.secret", "for a value, not for a name"),
        ("SELECT 1 SETTINGS max_threads = 1", "leave the SETTINGS clause out"),
        ("SELECT * FROM (SELECT 1 SETTINGS readonly = 0)", "leave the SETTINGS clause out"),
        ("SELECT 1 INTO OUTFILE 'x.csv'", "leave INTO OUTFILE out"),
        ("SELECT 1 into/**/outfile 'x.csv' TRUNCATE FORMAT CSV", "leave INTO OUTFILE out"),
        ("SELECT 1; SELECT 2", "not one statement"),
        ("SELECT 1 PARALLEL WITH SELECT 2", "one statement at a time"),
        ("INSERT INTO event_rows (site) VALUES ('x')", "'INSERT INTO' is no question"),
        ("EXPLAIN AST INSERT INTO event_rows (site) VALUES ('x')", "'EXPLAIN AST' is no question"),
        ("DROP TABLE event_rows", "'DROP TABLE' is no question"),
        ("ALTER TABLE event_rows DELETE WHERE 1", "is no question"),
        ("CREATE TEMPORARY TABLE x (a Int8)", "is no question"),
        ("SET readonly = 0", "is no question"),
        ("USE other", "is no question"),
        ("SYSTEM FLUSH LOGS", "is no question"),
        ("KILL QUERY WHERE 1", "is no question"),
        ("BACKUP TABLE event_rows TO Disk('x', 'y')", "is no question"),
        ("SHOW GRANTS", "is no question"),
        ("SHOW CREATE USER default", "is no question"),
        ("EXECUTE AS default SELECT 1", "is no question"),
        ("SELEC 1", "not one statement"),
        ("SELECT '", "not one statement"),
        ("", "not one statement"),
        ("-- nothing", "not one statement"),
        ("SELECT 1 -- " + "x" * 100_000, "at most 100000 are read"),
    ],
)
def test_the_ways_round_are_shut(asked: Warehouse, statement: str, why: str) -> None:
    with pytest.raises(QueryRefused, match=why):
        asked.read_only(statement)


@pytest.mark.parametrize("value", [" || file($x$/etc/hostname$x$) || ", "') INTO OUTFILE '/tmp/x' --", "%(a)s", "%"])
@pytest.mark.parametrize(
    "statement",
    ["SELECT '%(a)s' AS x", "SELECT %(a)s", "SELECT '50%'", "SELECT '{a:String} %(a)s'", "SELECT 1 /* {a:String} */"],
)
def test_a_parameter_that_is_not_declared_is_refused(asked: Warehouse, statement: str, value: str) -> None:
    with pytest.raises(QueryRefused, match=r"no parameter 'a': write \{a:String\}|not one statement"):
        asked.read_only(statement, params={"a": value})


def test_a_percent_sign_is_one_beside_parameters_too(asked: Warehouse) -> None:
    hostile = "%(a)s' || file('/etc/hostname') || '%s"
    statement = "SELECT '50% %s %(a)s' || {a:String} AS x, {a:String} LIKE '%host%' AS y"
    row = json.loads(asked.read_only(statement, "JSONEachRow", {"a": hostile}).body)
    assert row == {"x": "50% %s %(a)s" + hostile, "y": 1}
    with pytest.raises(ValueError, match="declares no parameter a"):
        asked.query("SELECT '%(a)s' AS x", {"a": "' AS y, '"})


def test_time_memory_and_the_answer_are_bounded(asked: Warehouse) -> None:
    with pytest.raises(QueryRefused, match="it took over 1 s"):
        limited.answer(asked, "SELECT count() FROM numbers(1000000000000)", seconds=1)
    with pytest.raises(QueryRefused, match="it needs over 50 MB"):
        limited.answer(asked, "SELECT length(groupArray(number)) FROM numbers(100000000)", memory=50 << 20)
    with pytest.raises(QueryRefused, match=r"over 10 rows.*add a LIMIT"):
        limited.answer(asked, "SELECT number FROM numbers(11)", rows=10)
    with pytest.raises(QueryRefused, match="add a LIMIT"):
        limited.answer(asked, "SELECT repeat(toString(number), 1000) FROM numbers(10000)", bytes=1 << 20)
    assert limited.answer(asked, "SELECT count() FROM events", rows=10).body == b"100\n"


def test_what_was_broken_off_is_not_in_the_next_answer(asked: Warehouse) -> None:
    with pytest.raises(QueryRefused, match="add a LIMIT"):
        asked.read_only("SELECT number FROM numbers(10000000)")
    assert asked.read_only("SELECT 1").body == b"1\n"


def test_no_column_of_ours_has_a_closed_name() -> None:
    assert not CLOSED_FUNCTIONS & {name.lower() for name in [*columns.COLUMNS, *session.COLUMNS]}
