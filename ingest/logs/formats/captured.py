"""Headers that HAProxy captured of a request. They have no names: each is known by its form.

An agent, a referrer and a host, and whom a balancer passed on."""

from __future__ import annotations

import re
from typing import NamedTuple

from ingest.logs.client import address_in
from ingest.logs.formats.request import Request
from ingest.logs.trust import is_internal, is_proxy, trusted

_AGENT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*/[0-9][^ ]*(?: .*)?")
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_HOST = re.compile(r"(?=[a-z0-9.-]*[a-z])[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]{1,5})?", re.IGNORECASE)


class Captured(NamedTuple):
    """The headers of a request that HAProxy captured; None and "" where it did not."""

    agent: str | None
    referrer: str
    host: str
    passed_on: str  # the address that a balancer passed on, canonical


def captured(captures: str) -> Captured:
    """Find what was captured of the request in the text behind the first brace; "" where there is none."""
    if not captures:
        return Captured(None, "", "", "")
    fields = captures.partition("}")[0].split("|")  # those of the answer follow in braces of their own
    agent = next(filter(_AGENT.fullmatch, fields), None)
    referrer = next(filter(_ADDRESS.match, fields), "")
    host = next(filter(_HOST.fullmatch, fields), "")
    passed_on = _passed_on([(field, its) for field in fields if (its := address_in(field)) is not None])
    return Captured(agent, referrer, host.partition(":")[0].lower(), passed_on)


def _passed_on(found: list[tuple[str, str]]) -> str:
    """Return the address among fields and their addresses that a balancer passed on, "" where there is none.

    A host may be an address, too, and stands first, mostly. Of several, the last counts; where no proxies are trusted,
    one of a network of somebody's own only where no other is found, and a chain before what is none."""
    if trusted() is None:
        found = [its for its in found if not is_internal(its[1])] or found
        found = [its for its in found if "," in its[0]] or found
    return found[-1][1] if found else ""


def client_behind(ip: str, passed_on: str) -> str:
    """Return the client of a line: who was passed on, where the line's own address may be a balancer's."""
    return passed_on if passed_on and is_proxy(ip) and not is_proxy(passed_on) else ip


def with_captures(request: Request, captures: str) -> Request:
    """Return a request with what was captured of it, see `captured`."""
    agent, referrer, host, passed_on = captured(captures)
    ip = client_behind(request.ip, passed_on)
    return request._replace(ip=ip, agent=agent, referrer=referrer, host=host or request.host)
