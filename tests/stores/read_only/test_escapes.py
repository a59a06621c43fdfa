"""No way out of a question, tried on the real engine: a table of ways, and the walls behind the inspection.

A secret lies in a file beside the warehouse and in another database of it; an answer, or what a refusal says,
never has it. Nothing is written, nobody is called.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import stores
from stores.base import QueryRefused, StoreError
from stores.read_only import client
from stores.read_only.sandbox import WALLS
from stores.warehouse import Warehouse
from tests.stores import frames
from tests.stores.read_only import limited
from tests.stores.read_only.escapes import WITH_PARAMETERS, WITHOUT_PARAMETERS

SECRET = "s3cret-W0rd"


class House(NamedTuple):
    """A data folder as on a user's machine: the warehouse, and a file of secrets beside it."""

    warehouse: Warehouse
    folder: Path
    port: int
    calls: list[object]

    def filled(self, text: str) -> str:
        words = {"@S": str(self.folder / "owner.json"), "@O": str(self.folder / "written"), "@P": str(self.port)}
        for short, long in words.items():
            text = text.replace(short, long)
        return text

    def outcome(self, statement: str, params: dict[str, str], escaped: bool = False, **limits: int) -> str:
        """The answer, or what a refusal says; and nothing else came of it."""
        given = {self.filled(name): self.filled(value) for name, value in params.items()}
        try:
            said = limited.answer(self.warehouse, self.filled(statement), given, escaped, **limits).body.decode()
        except QueryRefused as error:
            said = f"refused: {error}"
        assert not list(self.folder.rglob("*written*"))
        assert not self.calls
        return said


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "owner.json").write_text(SECRET)
    warehouse = stores.connect_warehouse(f"chdb://{folder}/warehouse")
    warehouse.migrate()
    warehouse.insert("event_rows", frames.marked(frames.events(20), 1), "escapes")
    warehouse.command("CREATE DATABASE other")
    warehouse.command(f"CREATE TABLE other.vault (word String) ENGINE = MergeTree ORDER BY word AS SELECT '{SECRET}'")
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen() -> None:
            try:
                while True:
                    calls.append(listening.accept()[1])
            except OSError:
                pass

        threading.Thread(target=listen, daemon=True).start()
        yield House(warehouse, folder, listening.getsockname()[1], calls)
        listening.shutdown(socket.SHUT_RDWR)
    warehouse.close()


@pytest.mark.parametrize("statement", WITHOUT_PARAMETERS)
def test_no_way_out(house: House, statement: str) -> None:
    assert SECRET not in house.outcome(statement, {})


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize(("statement", "params"), WITH_PARAMETERS)
def test_no_way_out_by_a_parameter(house: House, statement: str, params: dict[str, str], escaped: bool) -> None:
    assert SECRET not in house.outcome(statement, params, escaped)


def test_the_table_is_wide() -> None:
    assert len(set(WITHOUT_PARAMETERS)) > 200
    assert len(WITH_PARAMETERS) > 24


HONEST: list[tuple[str, dict[str, str], str]] = [
    ("SELECT count() FROM events", {}, "20"),
    ("SELECT '50% off', '%(a)s', '%%', '%s'", {}, "50% off\t%(a)s\t%%\t%s"),
    ("SELECT count() FROM events WHERE path LIKE '%' AND site NOT LIKE '%\\%%'", {}, "20"),
    ("SELECT 'a%b' LIKE {a:String}, '50%'", {"a": "a\\%b"}, "1\t50%"),
    ("SELECT {a:String} || '%(a)s'", {"a": "100%s"}, "100%s%(a)s"),
    ("SELECT length({a:String})", {"a": 'it\'s \\ "x" `y` \t\n\r\b\f ü 🙂'}, "28"),
    ("SELECT {a:String} = ''", {"a": ""}, "1"),
    ("SELECT {a:UInt64} + {b:Int8}", {"a": "18446744073709551610", "b": "-1"}, "-7"),
    ("SELECT {a:Float64} * 2, {b:Bool}, {c:Decimal(9, 2)}", {"a": "1.5", "b": "true", "c": "1.25"}, "3\ttrue\t1.25"),
    (
        "SELECT {d:Date} + 1, {t:DateTime}",
        {"d": "2026-02-28", "t": "2026-01-01 00:00:00"},
        "2026-03-01\t2026-01-01 00:00:00",
    ),
    ("SELECT {t:DateTime64(3)}", {"t": "2026-01-01 00:00:00.125"}, "2026-01-01 00:00:00.125"),
    ("SELECT {a:Array(String)}[2], 'b' IN {a:Array(String)}", {"a": "['a', 'b%']"}, "b%\t0"),
    ("SELECT {a:Array(UInt64)}", {"a": "[1,2]"}, "[1,2]"),
    ("SELECT {a:Map(String, UInt8)}['k']", {"a": "{'k': 7}"}, "7"),
    ("SELECT tupleElement({a:Tuple(UInt8, String)}, 2)", {"a": "(1, 'x')"}, "x"),
    ("SELECT {a:Array(String)}[1]", {"a": "['it\\'s\\\\']"}, "it\\'s\\\\"),
    (
        "SELECT {a:Nullable(String)} IS NULL, {b:Nullable(String)}, {c:String}",
        {"a": "\\N", "b": "n", "c": "\\N"},
        "1\tn\t\\\\N",
    ),
    ("SELECT {a:UUID}", {"a": "00000000-0000-0000-0000-000000000001"}, "00000000-0000-0000-0000-000000000001"),
    ("SELECT {a:JSON}.b, {e:Enum8('a\\tb' = 1)}", {"a": '{"b": "x\\\\y"}', "e": "a\tb"}, "x\\\\y\ta\\tb"),
    ("SELECT {a:LowCardinality(String)}, {a:FixedString(2)}", {"a": "xy"}, "xy\txy"),
    (
        "SELECT count() FROM events WHERE site IN {a:Array(String)} AND path LIKE {p:String}",
        {"a": "['none']", "p": "%"},
        "0",
    ),
    ("SELECT 'file(''x'')', \"a\" FROM (SELECT 1 AS a)", {}, "file(\\'x\\')\t1"),
    ("SELECT $x$it's$x$, `profile` FROM (SELECT 2 AS profile)", {}, "it\\'s\t2"),
    ("SELECT arrayMap((x, y) -> x + y, [1], [2]), map('a', 1)['a'], (1, 'b').2", {}, "[3]\t1\tb"),
    ("WITH 3 AS n, t AS (SELECT n AS m) SELECT m FROM t", {}, "3"),
    ("SELECT sum(number) OVER () FROM numbers(3) LIMIT 1", {}, "3"),
    ("SELECT 1::Int8, CAST('2' AS UInt8), INTERVAL 1 DAY + toDate('2026-01-01')", {}, "1\t2\t2026-01-02"),
    ('SELECT \'{"a":{"b":5}}\'::JSON.a.b', {}, "5"),
    ("SELECT JSONExtractString('{\"plan\":\"pro\"}', 'plan'), extract('a1', '\\\\d'), -1, 1e3", {}, "pro\t1\t-1\t1000"),
    ("SELECT * EXCEPT a, COLUMNS('b') APPLY toString FROM (SELECT 1 AS a, 2 AS b)", {}, "2\t2"),
    ("SELECT max(n) FROM (SELECT 1 AS n UNION ALL SELECT 2) WHERE n BETWEEN 1 AND 2 AND NOT n IN (7)", {}, "2"),
    ("SELECT CASE WHEN 1 THEN 'a' ELSE 'b' END, 1 ? 'c' : 'd', if(NULL IS NULL, 1, 0)", {}, "a\tc\t1"),
]


@pytest.mark.parametrize(("statement", "params", "answer"), HONEST)
def test_honest_questions_are_answered(house: House, statement: str, params: dict[str, str], answer: str) -> None:
    assert house.outcome(statement, params).rstrip("\n") == answer


@pytest.fixture(scope="module")
def fooled(house: House) -> Iterator[House]:
    """Readers that run what they are sent, with no inspection and no settings: what the kernel holds back alone."""
    if missing := _missing_walls():
        pytest.skip(f"this kernel has no {' and no '.join(missing)}")
    patch = pytest.MonkeyPatch()
    start = subprocess.Popen

    def uninspected(command: list[str], **more: Any) -> Any:
        assert command[:4] == [sys.executable, "-P", "-m", "stores.read_only.process"]
        return start([*command[:3], "tests.stores.read_only.uninspected", *command[4:]], **more)

    house.warehouse._read_only.reset()
    patch.setattr(client.subprocess, "Popen", uninspected)
    yield house
    patch.undo()
    house.warehouse._read_only.reset()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("SELECT file('@S')", "Permission denied"),
        ("SELECT * FROM file('@S', 'LineAsString')", "Permission denied"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "Permission denied"),
        ("SELECT file('/proc/1/environ')", "Permission denied"),
        ("SELECT file('/proc/self/root@S')", "Permission denied"),
        ("SELECT 1 INTO OUTFILE '@O'", "Permission denied"),
        ("INSERT INTO FUNCTION file('@O', 'TSV', 'a String') SELECT 'x'", "Permission denied"),
        ("INSERT INTO event_rows (site) VALUES ('x')", "readonly mode"),
        ("ALTER TABLE event_rows DELETE WHERE 1", "readonly mode|read-only"),
        ("SELECT * FROM mysql('127.0.0.1:@P', 'a', 'b', 'c', 'd')", "TCP/IP socket"),
        ("SELECT * FROM url('http://127.0.0.1:@P/', 'LineAsString')", "it was ended|I/O error"),
        ("SELECT * FROM executable('cat', 'TSV', 'a String')", "script"),
        ("SELECT * FROM sqlite('@S', 'x')", "unable to open"),
        ("SELECT * FROM other.vault", "other"),
    ],
)
def test_a_fooled_inspection_reaches_nothing(fooled: House, statement: str, why: str) -> None:
    assert fooled.outcome("SELECT count() FROM events", {}) == "20\n"
    said = fooled.outcome(statement, {}, seconds=1)
    assert SECRET not in said
    assert any(word in said for word in why.split("|")), said
    assert fooled.warehouse.query("SELECT count() AS n FROM event_rows").item() == 20


def test_a_process_of_readers_has_no_secrets_in_its_environment(fooled: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTFALL_TEST_SECRET", SECRET)
    fooled.warehouse._read_only.reset()
    said = fooled.outcome("SELECT file('/proc/self/environ')", {})
    assert "PYTHONPATH" in said
    assert SECRET not in said


def _missing_walls() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", "from stores.read_only.sandbox import confine; print(*confine(['/usr'], []))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [wall for wall in WALLS if wall not in done.stdout.split()]


def test_what_is_no_statement_is_refused_before_it_is_read(house: House) -> None:
    for statement, fmt, params in [
        ("SELECT 1" + " " * 100_000, "JSON", {}),
        ("SELECT 1", "J" * 1_000_000, {}),
        ("SELECT '\ud800'", "JSON", {}),
        ("SELECT {a:String}", "JSON", {"a": "\udfff"}),
        ("SELECT {a:String}", "JSON", {"a": "x" * 200_000}),
        ("SELECT {a:String}", "JSON", {"a" * 100: "x"}),
        ("SELECT {a:String}, '" + "{a:" * 30_000 + "'", "JSON", {"a": "x"}),
        ("SELECT 1", "JSON", {f"a{number}": "" for number in range(1000)}),
    ]:
        with pytest.raises(StoreError) as refused:
            house.warehouse.read_only(statement, fmt, params)
        assert isinstance(refused.value, QueryRefused)
        assert len(str(refused.value)) < 300
