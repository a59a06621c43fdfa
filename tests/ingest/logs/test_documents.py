"""Files that hold objects otherwise than one a line: the same objects, however they are laid out and read."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import codec
from ingest.logs import documents
from ingest.logs.files import detected, lines_of, opened
from ingest.logs.reader import batches, reader
from tests.ingest.logs.plainly import KEY, RECEIVED_AT, SITE, own_values

NOON = 1_748_779_200_000
VALUES = ("2025-06-01T12:00:0{}Z", "192.0.2.7", "GET", '/a"[?q={}', "200", "x, y")
NAMES = ("time_iso8601", "remote_addr", "request_method", "request_uri", "status", "http_user_agent")
LINES = [
    {name: value.format(second) for name, value in zip(NAMES, VALUES, strict=True)} for second in (0, 1)
]
COMBINED = [
    f'192.0.2.7 - - [01/Jun/2025:12:00:0{second} +0000] "GET /a HTTP/1.1" 200 5 "-" "x"' for second in (0, 1)
]
EVENTS = [{"type": "pageview", "url": "https://example.com/", "visitor": "v", "ts": NOON + 1_000 * n} for n in (0, 1)]


def table(separator: str) -> str:
    written = io.StringIO()
    writer = csv.writer(written, delimiter=separator)
    writer.writerows([NAMES, *([line[name] for name in NAMES] for line in LINES)])
    return written.getvalue()


WITHIN: dict[str, Any] = {
    "Amazon's trail": {"Records": LINES},
    "Amazon's subscription": {"messageType": "DATA_MESSAGE", "logEvents": [
        {"id": str(n), "timestamp": NOON + 5_000, "message": line} for n, line in enumerate(COMBINED)]},
    "Amazon's search": {"events": [{"timestamp": NOON + 5_000, "message": line} for line in COMBINED], "searched": []},
    "Azure's hours": {"records": LINES},
    "Elastic's search": {"took": 1, "_shards": {"total": 1}, "hits": {"total": {"value": 2}, "hits": [
        {"_index": "x", "_source": line} for line in LINES]}},
    "Loki's search": {"status": "success", "data": {"resultType": "streams", "result": [
        {"stream": {"job": "x"}, "values": [["1748779203000000000", line] for line in COMBINED]}], "stats": {}}},
    "Amazon's search by fields": {"results": [
        [{"field": "@timestamp", "value": "2025-06-01 12:00:03.000"}, {"field": "@message", "value": line}]
        for line in COMBINED], "status": "Complete"},
    "Graylog's search": {"query": "*", "messages": [
        {"message": {"source": "web-1", "timestamp": "2025-06-01T12:00:03Z", "message": line}} for line in COMBINED]},
    "OpenTelemetry's collector": {"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": [
        {"scope": {}, "logRecords": [{"timeUnixNano": "1", "body": {"stringValue": line}} for line in COMBINED]}]}]},
    "own events as they are sent": {"sent_at": NOON, "events": EVENTS},
    "an array": LINES,
    "an array of events": EVENTS,
}  # fmt: skip
LAID_OUT: dict[str, Callable[[Any], str]] = {
    "short": lambda given: json.dumps(given, separators=(",", ":")),
    "over lines": lambda given: "\r\n" + json.dumps(given, indent=2).replace("\n", "\r\n"),
}
FILES: dict[str, str] = {
    **{f"{name}, {how}": write(given) for name, given in WITHIN.items() for how, write in LAID_OUT.items()},
    "objects over lines": "\n".join(json.dumps(line, indent=4) for line in LINES),
    "several on a line": "".join(map(json.dumps, LINES)) + "\n",
    "an object a line of an array": "[\n" + ",\n".join(map(json.dumps, LINES)) + "\n]\n",
    "commas": table(","),
    "tabs": table("\t"),
    "semicolons, behind other lines": "\nsep=;\n# Exported\n" + table(";"),
    "commas and blanks": table(",").replace(",", ", ").replace("x, , y", "x, y"),
    "objects in cells": "insertId,timestamp,httpRequest\n" + "".join(
        f'{n},{line["time_iso8601"]},"{{""requestMethod"": ""GET"", ""requestUrl"": ""/a"", ""status"": 200,'
        ' ""remoteIp"": ""192.0.2.7""}"\n' for n, line in enumerate(LINES)),
    "the journal": "".join(f"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1748779203000000\n_COMM=nginx\nMESSAGE={line}\n\n"
                           for line in COMBINED),
    "the journal without blank lines": "".join(f"__REALTIME_TIMESTAMP=1748779203000000\nMESSAGE={line}\n"
                                               for line in COMBINED),
    "lines in a table": '"Date","Host","Message"\n' + "".join(
        '"2025-06-01T12:00:03Z","web-1","' + line.replace('"', '""') + '"\n' for line in COMBINED),
}  # fmt: skip


def read(path: Path, content: str) -> tuple[str, list[int], list[bytes]]:
    """Return the format, the times of the events, and the lines that are not understood."""
    path.write_text(content, newline="")
    with opened(str(path)) as file:
        shape, pieces = detected(file)
        lines = [line for piece in pieces for line in lines_of(piece)]
        made = list(batches([lines], reader(shape, SITE, KEY, RECEIVED_AT, None)))
        assert file.fault is None
    times = [codec.decode(value).occurred_at for batch in made for value in own_values(batch)]
    return shape, times, [line for batch in made for _, line, _ in batch.not_understood]


@pytest.mark.parametrize("name", FILES)
def test_every_object_is_a_line(tmp_path: Path, name: str) -> None:
    shape = "events" if "events" in name and "Amazon" not in name else "json"
    assert read(tmp_path / "some.log", FILES[name]) == (shape, [NOON, NOON + 1_000], [])


def test_what_breaks_off_or_does_not_fit_is_a_line_that_is_not_understood(tmp_path: Path) -> None:
    shape, times, wrong = read(tmp_path / "array", json.dumps(LINES)[:-20])
    assert (shape, times, len(wrong)) == ("json", [NOON], 1)
    shape, times, wrong = read(tmp_path / "table", table(",") + "one,two\n" + 'a "b,' * 3)
    assert (shape, times, wrong) == ("json", [NOON, NOON + 1_000], [b"one,two", b'a "b,a "b,a "b,'])
    shape, times, wrong = read(tmp_path / "between", json.dumps(LINES, indent=1).replace("},", "}, oops,"))
    assert (shape, times, wrong) == ("json", [NOON, NOON + 1_000], [b"oops"])


def test_a_table_in_a_time_that_nobody_knows_is_none() -> None:
    names = ["clientIp", "requestUri", "status"]
    assert documents.kind_of(",".join(["TimeGenerated [UTC]", *names]).encode()) == "table"
    assert documents.kind_of(",".join(["TimeGenerated [Local Time]", *names]).encode()) is None


def as_table(separator: str, cell: str, wrong: int, rows: int) -> str:
    """A table nobody quoted, whose last column is the agent; that of one row is `cell`."""
    first = [[VALUES[0].format(n % 10), *VALUES[1:3], f"/{n}", "200"] for n in range(rows)]
    lines = [[*NAMES], *([*cells, cell if n == wrong else "x y"] for n, cells in enumerate(first))]
    return "\n".join(map(separator.join, lines)) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("cell", ['"Mozilla/5.0 x', '"', '"Mozilla" 5.0', 'Mozilla "5.0', '""', 'x"'])
@pytest.mark.parametrize(("wrong", "rows"), [(10, 3_500), (19, 20)])
def test_a_quote_in_a_cell_swallows_no_row(tmp_path: Path, separator: str, cell: str, wrong: int, rows: int) -> None:
    shape, times, lines = read(tmp_path / "table", as_table(separator, cell, wrong, rows))
    assert (shape, len(times), lines) == ("json", rows, [])


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_quote_that_a_later_row_ends_swallows_no_row(tmp_path: Path, separator: str) -> None:
    text = as_table(separator, '"Mozilla/5.0 x', 3, 20).replace("x y", 'x y"', 9).replace('x y"', "x y", 8)
    assert len(read(tmp_path / "table", text)[1]) == 20
    inside = as_table(separator, "x", 3, 20).replace(f"GET{separator}/3", f'"GET{separator}/3')
    shape, times, lines = read(tmp_path / "inside", inside)
    assert (shape, len(times), len(lines)) == ("json", 19, 1)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_quoted_cells_hold_separators_and_quotes(tmp_path: Path, separator: str) -> None:
    cell = f'"Mozilla ""5{separator}0"""'
    (_, found) = list(documents.rows([as_table(separator, cell, 0, 2).encode()]))[::-1]
    assert json.loads(found)["http_user_agent"] == f'Mozilla "5{separator}0"'


def test_quotes_in_cells_may_stand_behind_a_backslash() -> None:
    for agent in ('say "hi" x', 'say "hi, you" x', "a\\\\b", 'C:\\\\x "y"'):
        escaped = agent.replace("\\", "\\\\").replace('"', '\\"') if '"' in agent else agent
        found = list(documents.rows([as_table(",", f'"{escaped}"', 1, 3).encode()]))
        assert [json.loads(row)["http_user_agent"] for row in found] == ["x y", agent, "x y"]


@pytest.mark.parametrize(("before", "behind"), [(True, False), (False, True)])
def test_one_column_at_an_end_needs_no_name(tmp_path: Path, before: bool, behind: bool) -> None:
    numbered = ["" if n == 0 else str(n) for n in range(3)]
    lines = zip(numbered, table(",").splitlines(), strict=True)
    text = "".join(f"{number + ',' if before else ''}{line}{',' if behind else ''}\n" for number, line in lines)
    assert read(tmp_path / "some.csv", text) == ("json", [NOON, NOON + 1_000], [])


@pytest.mark.parametrize("separator", [",", ";"])
def test_quoted_cells_hold_line_ends(separator: str) -> None:
    for cell in ('"Mozilla\n5"', f'"Mozilla\n5{separator}""0"""'):
        found = [json.loads(row) for row in documents.rows([as_table(separator, cell, 1, 3).encode()])]
        assert [row["request_uri"] for row in found] == ["/0", "/1", "/2"]
        assert found[1]["http_user_agent"] == cell[1:-1].replace('""', '"')


def test_lines_stay_lines(tmp_path: Path) -> None:
    ones = "".join(json.dumps({**line, "records": [{"a": 1}], "values": [["a", "b"]]}) + "\n" for line in LINES)
    assert read(tmp_path / "lists", ones) == ("json", [NOON, NOON + 1_000], [])
    combined = '192.0.2.7 - - [01/Jun/2025:12:00:00 +0000] "GET /a,b,c HTTP/1.1" 200 5'
    for line in (combined, '{"a": "b', "[x] {", "a,b", "a,b,c\rd,e"):
        assert documents.kind_of(line.encode() + b"\n") is None


OF_ITS_OWN: dict[str, Any] = {
    "items": {"items": [{"sku": "a"}, {"sku": "b"}]},
    "data": {"data": [{"a": 1}], "status": "paid"},
    "value": {"value": [{"a": 1}]},
    "events": {"records": [{"url": "https://example.com/", "type": "pageview"}]},
    "pairs": {"values": [["a", "b"], ["c", "d"]]},
    "both": {"rows": [{"values": [["a", "b"]]}, {"a": 1}], "data": {"result": [{"a": 1}]}},
    "deeper": {"props": {"values": [["a", "b"]]}},
}  # fmt: skip


@pytest.mark.parametrize("how", ["lines", "behind another", "over lines", "an array", "an array over lines"])
@pytest.mark.parametrize("name", OF_ITS_OWN)
@pytest.mark.parametrize("shape", ["json", "events"])
def test_an_array_of_a_record_is_a_part_of_it(tmp_path: Path, shape: str, name: str, how: str) -> None:
    made = [{**OF_ITS_OWN[name], **record} for record in (EVENTS if shape == "events" else LINES)]
    made = [{**record, **OF_ITS_OWN[name]} for record in made] if shape == "events" else made
    text = {
        "lines": "\n".join(map(json.dumps, made)),
        "behind another": "\n".join(map(json.dumps, [{"level": "info", "msg": "start", "data": [{"a": 1}]}, *made])),
        "over lines": "\n".join(json.dumps(record, indent=2) for record in made),
        "an array": json.dumps(made),
        "an array over lines": json.dumps(made, indent=2),
    }[how]
    path = tmp_path / "some.log"
    found, times, wrong = read(path, text)
    assert (found, times, len(wrong)) == (shape, [NOON, NOON + 1_000], int(how == "behind another" and shape == "json"))
    with opened(str(path)) as file:
        lines = [json.loads(line) for piece in file for line in lines_of(piece)]
    assert lines[-2:] == made


def test_records_are_the_lines_of_an_object_however_they_name_their_fields(tmp_path: Path) -> None:
    lines = [
        {"my_time_iso8601": line["time_iso8601"], "my_remote_addr": line["remote_addr"], "my_request_method": "GET",
         "my_request_uri": "/", "my_status_code": "200"} for line in LINES]  # fmt: skip
    assert read(tmp_path / "some.log", json.dumps({"records": lines})) == ("json", [NOON, NOON + 1_000], [])
    listed = {"type": "list", "url": "https://api.example.com/", "data": LINES}
    assert read(tmp_path / "some.log", json.dumps(listed)) == ("json", [NOON, NOON + 1_000], [])


@pytest.mark.parametrize("count", [2, 20_000])
def test_records_come_out_in_order_also_of_an_object_that_is_too_long_to_wait_for(count: int) -> None:
    numbers = [{"n": n, "values": [{"a": "x" * 40}]} for n in range(count)]
    text = json.dumps({"took": 1, "data": {"result": numbers, "more": ["x" * 9] * 9}}).encode()
    found = list(documents.objects(text[at : at + 9_000] for at in range(0, len(text), 9_000)))
    assert [json.loads(line) for line in found] == numbers
    assert len(text) > documents.LONGEST or count == 2


def test_an_object_that_is_too_long_is_one_line_and_costs_no_other() -> None:
    long = {"a": "x" * 3 * documents.LONGEST, "b": [{"c": ["y" * 9] * 200_000}]}
    text = json.dumps([LINES[0], long, LINES[1]]).encode()
    found = list(documents.objects(text[at : at + 100_000] for at in range(0, len(text), 100_000)))
    assert [json.loads(line) for line in (found[0], found[-1])] == LINES
    assert (len(found), len(found[1])) == (3, documents.LONGEST + 1)


class Looking:
    """The pattern of tokens, and how many bytes it was given to look at."""

    def __init__(self) -> None:
        self.bytes = 0
        self._pattern = documents._TOKEN

    def finditer(self, text: bytes, at: int = 0) -> Iterator[re.Match[bytes]]:
        self.bytes += len(text) - at
        return self._pattern.finditer(text, at)


@pytest.mark.parametrize("between", ["x", '","', " "])
def test_a_long_object_is_looked_at_a_few_times_however_short_its_pieces(
    monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    looking = Looking()
    monkeypatch.setattr(documents, "_TOKEN", looking)
    text = b'[{"a":["' + between.encode() * 200_000 + b'"]},{"b":1}]'
    found = list(documents.objects(text[at : at + 500] for at in range(0, len(text), 500)))
    assert len(found) == 2
    assert looking.bytes < 4 * len(text)


def test_every_object_before_a_fault_is_a_line() -> None:
    def broken() -> Iterator[bytes]:
        yield b'[{"a":"' + b"x" * 5_000
        yield b'"},{"b":1},{"c'
        raise EOFError

    found = documents.objects(broken())
    assert [len(next(found)), next(found)] == [5_009, b'{"b":1}\n']
    with pytest.raises(EOFError):
        next(found)


@pytest.mark.parametrize(
    "text", [b"[{", b"[", b'{"a":', b'{"values":[[', b'"', b"\\", b'[{"a":"', b"x", b'{"records":[ ', b"]}"]
)
def test_what_has_no_end_ends(text: bytes) -> None:
    lines = list(documents.objects(text * 20_000 for _ in range(4)))
    assert sum(map(len, lines)) <= 80_000 * len(text) + len(lines)
    assert max(map(len, lines), default=0) <= documents.LONGEST + 1


inner = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", '\\\\"', "[{"]),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=3), some, max_size=3),
    max_leaves=8,
)
some_objects = st.lists(st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=4), min_size=1, max_size=4)


@given(some_objects, st.sampled_from([None, 1, "\t"]), st.booleans(), st.booleans(), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_the_objects_are_the_same_in_pieces_of_any_size(
    given_objects: list[Any], indent: int | str | None, ascii_only: bool, together: bool, size: int
) -> None:
    written = [json.dumps(each, indent=indent, ensure_ascii=ascii_only) for each in given_objects]
    whole = json.dumps(given_objects, indent=indent, ensure_ascii=ascii_only) if together else "\n".join(written)
    text = whole.encode("utf-8", "replace")
    expected = [json.loads(each.encode("utf-8", "replace")) for each in written]
    found = list(documents.objects(text[at : at + size] for at in range(0, len(text), size)))
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in found)
    assert [json.loads(line) for line in found] == expected
