"""The common and the combined format of Apache and nginx, as servers add to them.

`combined` is what both write by default, `common` the same without referrer and agent. Varnish, Icecast, Tomcat and
many others write them too. Servers add fields to these, so a line is taken apart by what its fields are: the client is
the first field that is an address, the request is the quoted field before status and bytes, referrer and agent are the
quoted fields after them. A line in which one of these cannot be found is not understood; nothing is guessed and
nothing is read in half. Every pattern here takes time in proportion to the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from ingest.logs.client import Client, address_in, client_of, is_internal
from ingest.logs.formats.request import NotUnderstood, Request, request_of
from ingest.logs.formats.times import STAMP, time_of

_NO_TIME = NotUnderstood("no time such as [01/Jun/2025:12:00:00 +0000]")
_NO_ADDRESS = NotUnderstood("no field before the time is a client's address", 1)
_NO_REQUEST = NotUnderstood('no "request" with status and bytes after it', 2)
_NO_AGENT = NotUnderstood(
    "which of the quoted fields after the bytes are referrer and agent is not clear: give --log-format", 4
)
_TORN = NotUnderstood("a quoted field has no end", 3)

# Quoted fields may hold escaped quotes. Possessive: what is taken is never given back, so no line is read twice.
_FIELD = re.compile(r'[ \t]+(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^ \t"][^ \t]*+))(?![^ \t])')
_STATUS_AND_SIZE = re.compile(r"[0-9]{3} (?:[0-9]+|-)")
_CHAIN = re.compile(r"[0-9A-Fa-f:.]{3,45}(?:,[ \t]*[0-9A-Fa-f:.]{3,45})*+")
_LONGEST_CHAIN = 1_024  # characters
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PRODUCT = re.compile(r"(?!HTTP/)[A-Za-z][A-Za-z0-9_.-]*/[0-9]")  # how agents begin: Mozilla/5.0, curl/8.5.0


def combined(line: str) -> Request | NotUnderstood:
    """Parse `IP - user [time] "request" status bytes` and, where they follow, `"referrer" "agent"`."""
    return _request(line, referrer_and_agent)


def common(line: str) -> Request | NotUnderstood:
    """Parse as `combined` does, but ignore the fields after the bytes."""
    return _request(line, lambda _: (None, None))


def _request(
    line: str, choose: Callable[[list[str]], tuple[str | None, str | None] | None]
) -> Request | NotUnderstood:
    stamp = STAMP.search(line)
    if stamp is None:
        return _NO_TIME
    client = client_of(line[: stamp.start()])
    if client is None:
        return _NO_ADDRESS
    at = time_of(stamp)
    if at is None:
        return _NO_TIME
    fields = _fields(line, stamp.end())
    if fields is None:
        return _TORN
    first = _first_request(fields)
    if first is None:
        return _NO_REQUEST
    request, status = fields[first][0] or "", fields[first + 1][1] or ""
    behind = [quoted for quoted, _ in fields[first + 3 :] if quoted is not None]
    found = choose(behind)
    if found is None:
        return _NO_AGENT
    return request_of(client_behind(client, behind), at, request, status, *found)


def client_behind(client: Client, quoted: list[str]) -> Client:
    """Return the client that a balancer passed on in a quoted field after the bytes; `client` itself elsewhere."""
    if not is_internal(client.ip):
        return client
    for field in quoted:
        if _is_chain(field):
            addresses = [address for part in field.split(",") if (address := address_in(part)) is not None]
            public = [address for address in addresses if not is_internal(address)]
            if addresses:
                return client._replace(ip=(public or addresses)[0])
    return client


def quoted_in(text: str) -> list[str]:
    """Return the quoted fields of a text that holds only whole fields."""
    return [quoted for quoted, _ in _fields(" " + text, 0) or () if quoted is not None]


def referrer_and_agent(quoted: list[str]) -> tuple[str | None, str | None] | None:
    """Find referrer and agent among the quoted fields after the bytes; return (None, None) where there is none.

    They are a pair, of which the second is no chain of addresses; of more than two fields, the first may be a referrer
    and the second is no URL either. The first pair with an agent's form counts, and where none has it, the first of
    all. Return None where they cannot be found: a single field may be either of them, and a field with an agent's form
    that is in no such pair may be the agent."""
    if not quoted:
        return None, None
    pairs = [
        (referrer, agent)
        for referrer, agent in pairwise(quoted)
        if not _is_chain(agent) and (len(quoted) == 2 or (_may_refer(referrer) and not _URL.match(agent)))
    ]
    for referrer, agent in pairs:
        if _PRODUCT.match(agent):
            return "" if _is_chain(referrer) else referrer, agent
    return None if any(map(_PRODUCT.match, quoted)) else next(iter(pairs), None)


def _may_refer(text: str) -> bool:
    return text in ("", "-") or _URL.match(text) is not None


def _is_chain(text: str) -> bool:
    """Return whether a field is an address, or several as proxies pass them on."""
    return _CHAIN.fullmatch(text[:_LONGEST_CHAIN]) is not None and address_in(text.partition(",")[0]) is not None


def _fields(line: str, start: int) -> list[tuple[str | None, str | None]] | None:
    """Return the fields from `start` on, each (quoted, None) or (None, bare); None where a quoted one has no end."""
    fields: list[tuple[str | None, str | None]] = []
    while match := _FIELD.match(line, start):
        fields.append((match[1], match[2]))
        start = match.end()
    return None if line[start:].strip(" \t") else fields


def _first_request(fields: list[tuple[str | None, str | None]]) -> int | None:
    """Return the index of the request: the first quoted field before a status and a count of bytes."""
    for index in range(len(fields) - 2):
        status, size = fields[index + 1][1] or "", fields[index + 2][1] or ""
        if fields[index][0] is not None and _STATUS_AND_SIZE.fullmatch(f"{status} {size}"):
            return index
    return None
