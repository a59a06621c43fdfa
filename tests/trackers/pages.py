"""The pages of the documentation on other trackers, written from what the protocols say of themselves.

    python -m tests.trackers.pages

writes `docs/trackers/NAME.md` for each protocol, and `docs/trackers/README.md`, which lists them, and
`differences.md`.
"""

from __future__ import annotations

from pathlib import Path

from activity.compat.protocol import Protocol
from activity.compat.registry import BY_NAME, PROTOCOLS
from tests.trackers.visits import DIFFERS

FOLDER = Path(__file__).parents[2] / "docs" / "trackers"
_INTRODUCTION = """\
# Other trackers

Clients of these trackers need nothing but another URL. Each protocol answers at its own paths and, where two would
meet, below `/compat/NAME`. Accepted is what is durable, and each event is judged by the same rules as our own: one
that is refused is refused alone, in words, and what cannot be understood is kept as a [dead
letter](../dead-letters.md).

The sites file says which id of a tracker belongs to which site (`ids`; write `NAME:ID` for an id that two trackers
have), and which of a site's keys are secret (`write_keys`). Only with a secret one do the address and the agent count
that an event gives for its visitor, and times more than 72 hours back.

A page is named by its whole address, or by a path of the site. Of an address with an app's own scheme
(`app://localhost/settings`) the path counts, and one of the site's own hosts needs no scheme. What is no page
(`about:blank`, `undefined`) is none of an event, and refused as a page view.

A body may be packed with gzip, zlib, deflate or zstd (not zstd as a function), and is read in the charset that its
type names. Times may be ISO 8601, HTTP's dates, or Unix time in seconds, milli-, micro- or nanoseconds; amounts may
have a currency beside them, and thousands and cents parted as languages do it (`1.234,50 €`, `1,23,456.78`). One point
before three digits parts thousands where a currency stands behind (`1.500 €`). An amount that may be two (`€1.500`) is
no revenue.

An event's own id (`messageId`, `eid`, `uuid`, …) becomes its id here, so what a client sends again counts once. Two
events that have one id by accident count both: an event is the same only if the visitor and all that it says are, but
for times, the user and what only a server with its key may tell (address and agent). Where a client names no visitor,
the same id with the same content is one event. What programs send that know nobody (`undefined`, `null`, `None`) is
no user and no visitor: it would make all of them one.

In what the same visit differs by the protocol that it was sent with: [differences](differences.md).

| Tracker | Paths |
| --- | --- |
"""
_DIFFERENCES = """\
# One visit, by each protocol

A visitor comes from a newsletter's link to the home page, searches, signs up, looks at the prices and says who he is.
The visit is sent as the clients of each tracker send it, and what comes of it is compared with what comes of our own
events, column by column of `sessions`. The columns below differ; all others are equal, and so is every column of
{same}.
`visitor` and `session_id` follow from the id by which each tells its visitors apart.

| Tracker | Column | Why |
| --- | --- | --- |
"""
_FIELDS = """\

## Fields

What becomes of each field that its clients send. Fields that are not here are left out; of more than 30 properties,
the first are kept, and `props_left_out` names the others.

| Field | Becomes | |
| --- | --- | --- |
"""


def page(protocol: Protocol) -> str:
    """A protocol's page in Markdown."""
    paths = "\n".join(
        f"- `{' '.join(route.methods)}` `{route.path}{'/…' if route.prefix else ''}`"
        + (f" with the header `{route.header.decode()}`" if route.header else "")
        for route in protocol.routes
    )
    rows = "".join(
        f"| `{_cell(field.theirs)}` | {f'`{field.ours}`' if field.ours else 'left out'} | {_cell(field.note)} |\n"
        for field in protocol.fields
    )
    return (
        f"# {protocol.title}\n\n{protocol.notes.strip()}\n\n## Paths\n\n{paths}\n\n"
        f"Each is also at `/compat/{protocol.name}`, for where another tracker has the same.\n{_FIELDS}{rows}"
    )


def contents() -> str:
    """The page that lists all of them."""
    rows = "".join(
        f"| [{protocol.title}]({protocol.name}.md) | "
        + ", ".join(dict.fromkeys(f"`{route.path}`" for route in protocol.routes))
        + " |\n"
        for protocol in PROTOCOLS
    )
    return _INTRODUCTION + rows


def differences() -> str:
    """The page that tells in what the session of one visit differs by the protocol that it was sent with."""
    rows = "".join(
        f"| {BY_NAME[name].title} | `{column}` | {why} |\n"
        for name, columns in DIFFERS.items()
        for column, why in columns.items()
    )
    same = ", ".join(protocol.title for protocol in PROTOCOLS if protocol.name not in DIFFERS)
    return _DIFFERENCES.format(same=same) + rows


def pages() -> dict[str, str]:
    """All pages by their file names."""
    each = {f"{protocol.name}.md": page(protocol) for protocol in PROTOCOLS}
    return {"README.md": contents(), "differences.md": differences(), **each}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
