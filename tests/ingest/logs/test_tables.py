"""Tables whose names and cells are written otherwise than plainly, and the journal: what rows and entries come to."""

from __future__ import annotations

import json

import pytest

from ingest.logs import documents, formats
from ingest.logs.formats import NotUnderstood, Request

NAMES = ["time", "remote_addr", "method", "uri", "status", "user_agent"]
CELLS = ["2025-06-01T12:00:00Z", "192.0.2.7", "GET", "/a", "200", "x y"]
PLAIN = Request("192.0.2.7", 1_748_779_200_000, "GET", "/a", 200, "", "x y")


def read(text: str) -> list[Request | NotUnderstood]:
    """Return what the rows of a table come to."""
    assert documents.kind_of(text.encode()) == "table"
    return [formats.json(line.decode()) for line in documents.rows([text.encode()])]


def table(names: list[str], cells: list[str], separator: str = ",") -> str:
    return f"{separator.join(names)}\n{separator.join(cells)}\n"


@pytest.mark.parametrize("names", [
    ["time [UTC]", "client_ip [v4]", "method", "url [path]", "status [code]"], ["timestamp [GMT]", *NAMES[1:5]],
    ["timestamp [Z]", *NAMES[1:5]], ["time [ISO 8601]", *NAMES[1:5]], ["time [start]", *NAMES[1:5]],
    ["time [UTC]", *NAMES[1:4], "status [code]"],
])  # fmt: skip
def test_what_stands_in_brackets_is_no_part_of_a_name(names: list[str]) -> None:
    assert read(table([*names, "user_agent [as sent]"], CELLS)) == [PLAIN]


@pytest.mark.parametrize("zone", ["Local Time", "CET", "Europe/Berlin", "UTC+2", "+02:00", "local"])
def test_a_time_of_another_zone_is_none(zone: str) -> None:
    assert documents.kind_of(table([f"timestamp [{zone}]", *NAMES[1:]], CELLS).encode()) is None
    names = [*NAMES, f"time [{zone}]", "status [text]", "user_agent [short]"]
    assert read(table(names, [*CELLS, "2025-06-01T14:00:00Z", "OK", "x"])) == [PLAIN]


@pytest.mark.parametrize("more", [
    ["tag", "tag.0"], ["tags", "tags{}"], ["count_s", "count_d"], ["note", "note"], ["Status_d", "uri_s"],
])  # fmt: skip
def test_columns_may_have_one_name_where_nobody_reads_them(more: list[str]) -> None:
    assert read(table([*NAMES, *more], [*CELLS, "1", "2"])) == [PLAIN]


def test_of_two_columns_of_one_name_nobody_knows_which_counts() -> None:
    for name in ("status", "Status", "user-agent"):
        assert documents.kind_of(table([*NAMES, name], [*CELLS, "404"]).encode()) is None


@pytest.mark.parametrize("separator", [", ", "; ", "\t ", " | ", "| "])
@pytest.mark.parametrize("quote", ['""', '\\"'])
def test_quotes_stand_behind_blanks(separator: str, quote: str) -> None:
    agent = f"x, y ;(a | {quote}b{quote})\t{quote}"
    quoted = [f'"{cell}"' for cell in [*CELLS[:5], agent]]
    some = [*CELLS[:3], '"/a"', "200", f'"{agent}"']
    if quote == '\\"' and separator.strip(" ") in "|\t":  # between these a backslash is one
        quoted, some = [*quoted[:5], '"x y"'], [*some[:5], "x y"]
    found = read(separator.join(NAMES) + "\n" + "".join(separator.join(row) + "\n" for row in (quoted, some, CELLS)))
    agents = [request.agent for request in found if isinstance(request, Request)]
    expected = quoted[5][1:-1].replace('""', '"').replace('\\"', '"')
    assert agents == [expected, expected, "x y"]
    assert [request._replace(agent="x y") for request in found if isinstance(request, Request)] == [PLAIN] * 3


def test_an_address_beside_the_client_is_a_column_as_any_other() -> None:
    names = ["host", "address", *NAMES[:1], *NAMES[2:]]
    assert read(table(names, ["192.0.2.7", "Berlin", *CELLS[:1], *CELLS[2:]])) == [PLAIN]


JOURNAL = b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=%d\n"
FORGED = b"a\nMESSAGE=forged\n__REALTIME_TIMESTAMP=5\n\nMESSAGE=forged\n"


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
@pytest.mark.parametrize("message", [b"x\x1b[0my", FORGED, b"", b"MESSAGE\n" * 40])
def test_a_message_of_the_journal_that_is_no_text_has_its_length(message: bytes, size: int) -> None:
    binary = b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n"
    other = b"COREDUMP\n" + (9).to_bytes(8, "little") + b"\n\nMESSAGE\n"
    text = JOURNAL % 1 + other + binary + b"_COMM=a\n\n" + JOURNAL % 2 + b"MESSAGE=b\n" + other
    assert documents.kind_of(text) == "journal"
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    found = [json.loads(entry) for entry in documents.LINES["journal"](pieces)]
    assert found == [
        {"__REALTIME_TIMESTAMP": "1", "MESSAGE": formats.decoded(message)},
        {"__REALTIME_TIMESTAMP": "2", "MESSAGE": "b"},
    ]


def test_a_journal_that_breaks_off_costs_no_entry_before() -> None:
    whole = JOURNAL % 1 + b"MESSAGE=a\n\n" + JOURNAL % 2
    long = b"M" * 2_000_000 + b"\nMESSAGE=b"
    for rest in (b"MESSAGE\n\x09\0\0\0\0\0\0\0b", b"_A\n\x09\0", b"_A\nsome text\nMESSAGE=b", long):
        found = [json.loads(entry) for entry in documents.LINES["journal"]([whole + rest])]
        assert found[0] == {"__REALTIME_TIMESTAMP": "1", "MESSAGE": "a"}
        assert found[1].get("MESSAGE", "b") == "b"
