"""The client of a log line: its address, found among the fields before the time.

The client is the first field that is an address, in any spelling: with a port, in brackets, as a chain of proxies
whose first part is the client, as `Forwarded` has it, or after the name of a file, which `grep` puts before it. Where
that one is of an internal network and a public one follows, the first is a balancer's. Where the import was told which
proxies are trusted, all addresses are one chain instead, and the last is the line's own. The field before the client
may name the virtual host, or the one between it and the user. Where syslog, the journal or Papertrail put a head before
the line, the host in it may be an address, but is no client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from activity.geo import canonical_address
from ingest.client import Proxies
from ingest.logs.trust import client_in, is_proxy, trusted

_FIELDS = 16  # of a line are read, at most
_LONGEST = 400  # characters of a field: the name of a file, and an address
_KEPT = 128  # characters of the text before the time: the clients of longer texts are not cached
_LABEL = re.compile(r"[a-z0-9_-]+")
_WHOLE_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{1,59})(?::[0-9]{1,5})?", re.IGNORECASE)
_NAME_OF_HOST = re.compile(r"[a-z_]{1,20}=(?=[^=]+$)")  # vhost=example.com
_AROUND = "\"'()<>;+ \t\ufeff"  # an address; IIS writes a blank as +
_LEVEL = re.compile(r"^\[[a-z]{3,9}\](?=.)", re.IGNORECASE)  # of a message, which Fly writes right before it
_MASKED = re.compile(r"([0-9]{1,3}\.[0-9]{1,3})\.([0-9]{1,3}|[xX*]{1,3})\.[xX*]{1,3}")  # as some hosts do for privacy
_BARE_IN_BRACKETS = re.compile(r"\[([0-9.]{7,15})\](:[0-9]{1,5})?")

_BSD_TIME = r"[A-Z][a-z]{2} [ 0-9]?[0-9] (?:[0-9]{4} )?[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?: [A-Z]{3,4})?"
_ISO_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,]{8,18}(?:Z|[+-][0-9]{2}:?[0-9]{2})"
_JOURNAL_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]{8,15} [A-Z]{1,5}|[0-9]{10}\.[0-9]{6}|\[ *[0-9]{1,9}\.[0-9]{6}\]"
# Syslog's head: time, host, facility and tag, of which host and facility may be missing; or, by RFC 5424, all up to the
# structured data; or, in Papertrail's archives, nine fields with tabs.
_SYSLOG = re.compile(
    rf"(?:{_BSD_TIME}|{_ISO_TIME}|{_JOURNAL_TIME}) +"
    r"(?:[^ -][^ ]{0,254} +){0,2}[^ :\[]{1,128}(?:\[[^ \]]{0,64}\])?:(?: +|$)"
    rf"|<[0-9]{{1,3}}>[1-9] (?:-|{_ISO_TIME}) +(?:[^ ]{{1,255}} +){{4}}"
    rf"|[0-9]{{1,20}}\t{_ISO_TIME}\t{_ISO_TIME}\t[0-9]{{1,20}}\t(?:[^\t]{{0,255}}\t){{5}}"
)
_SYSLOG_WITHOUT_TAG = re.compile(
    rf"(?:<[0-9]{{1,3}}>(?:{_BSD_TIME}|{_ISO_TIME})|{_BSD_TIME}) +\[?[0-9A-Fa-f:.]{{3,45}}\]? +"
)
# What compose, kubectl or a container's runtime, and grep put before a line; each may stand behind the one before.
_HEADS = tuple(
    map(
        re.compile,
        (
            r"ACCESS +(?=\[)|\[pod/[^ \]]{1,255}\] +|(?:\x1b\[[0-9;]{1,16}m)?[^ |]{1,128} +\|(?:\x1b\[0?m)? +",
            rf" *{_ISO_TIME} +(?:(?:stdout|stderr) [FP] +|\[[A-Z]{{2,10}}/[A-Z0-9/]{{1,40}}\] (?:OUT|ERR) +)?",
            r"[^ :]{1,255}:(?:[0-9]{1,10}:)?",
        ),
    )
)
_STRUCTURED = re.compile(  # data, as RFC 5424 has them behind its head
    r'^(?:-|(?:\[[^ \]="]{1,32}(?: [^ \]="]{1,32}="[^"\]]{0,255}")*+\])++) +'
)
_MAY_HOLD_ONE = re.compile(r"[.:,]")  # an address, or be a part of a chain
_CHAIN_GAP = re.compile(r",[ \t]++")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:")
_LONGEST_HEAD = 512  # characters


class Client(NamedTuple):
    """Who asked, and which virtual host, where the line names one."""

    ip: str  # canonical, see `activity.geo`
    host: str  # lower case, without port; "" where the line names none
    named: str = ""  # hosts, with blanks between, that may be the page's or those of machines


def client_of(text: str) -> Client | None:
    """Return the client of the text before the time; None where no field of it is an address."""
    return _client_kept(text, trusted()) if len(text) <= _KEPT else _client_of(text)


def _client_of(text: str) -> Client | None:
    find = _first_client if trusted() is None else _last_client
    if head := _head(_SYSLOG, text):
        return find(text[head.end() :])
    without_tag = _head(_SYSLOG_WITHOUT_TAG, text)
    return (without_tag and find(text[without_tag.end() :])) or find(text)


def _head(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return a head of syslog; behind trusted proxies none that follows an address, for a user may be called so."""
    head = pattern.search(text[:_LONGEST_HEAD])
    if head is None or trusted() is None or not any(map(address_in, text[: head.start()].split())):
        return head
    return None


def _first_client(text: str) -> Client | None:
    fields = _CHAIN_GAP.sub(",", text).split(None, _FIELDS)[:_FIELDS]
    for index, field in enumerate(fields):
        address = address_in(field)
        if address is None:
            continue
        following = fields[index + 1] if index + 1 < len(fields) else ""
        if _is_our_own(field, address) and address_in(following) is not None:
            continue
        if is_proxy(address):
            for later, its_field in enumerate(fields[index + 1 :], index + 1):
                its = address_in(its_field) if _may_be_passed_on(fields, index, later) else None
                if its is not None and not is_proxy(its):
                    return Client(its, _host_before(fields, index) or _host_in(fields[later - 1]))
        return Client(address, _host_before(fields, index) or _host_behind(fields, index))
    return None


def _last_client(text: str) -> Client | None:
    """Return the client of a line that trusted proxies passed on: all addresses up to the line's own are one chain.

    None also where ident and user may begin behind more than one address, and the clients would not be the same: what
    was sent along, as a chain or as a user, may look like the rest of the line."""
    fields = _CHAIN_GAP.sub(",", text).split()
    parts = [_parts_of(field) if _MAY_HOLD_ONE.search(field) else [] for field in fields]
    parts = [its if "," in field or its != [None] else [] for field, its in zip(fields, parts, strict=True)]
    holding = [index for index, its in enumerate(parts) if its and its[-1] is not None]
    if not holding:
        return None
    first = holding[0]
    if len(holding) > 1 and _has_servers_port(fields[first]):
        parts[first] = []
    before = {index + 1 for index in holding}
    own = [
        index
        for index in holding
        if (left := len(fields) - index - 1) == 2 or fields[index + 1 :][:1] == ["-"] or (left < 2 and index in before)
    ] or holding[-1:]
    clients = {client_in([part for its in parts[: index + 1] for part in its]) for index in own}
    ip = clients.pop()
    if ip is None or clients:
        return None
    host = _host_before(fields, own[-1]) or _host_before(fields, first)
    return Client(ip, host or _host_behind(fields, own[-1]))


def _may_be_passed_on(fields: list[str], index: int, later: int) -> bool:
    """Return whether a field may be what the balancer at `index` passed on: the user, who may be called anything, not.

    It stands right behind the balancer's address, or further behind with ident and user following."""
    return later == index + 1 or later + 2 < len(fields)


def _host_before(fields: list[str], index: int) -> str:
    """Return the virtual host that stands before the client: `example.com 192.0.2.1`, `example.com - 192.0.2.1`."""
    if index == 2 and fields[1] == "-":
        return whole_host(fields[0])
    return _host_in(fields[index - 1]) if index else ""


def _host_behind(fields: list[str], index: int) -> str:
    """Return the virtual host between client and user, as lighttpd writes it: `192.0.2.1 example.com -`.

    Virtualmin has it twice, as it is called and as it was asked for: `192.0.2.1 - example.com www.example.com -`."""
    if index + 5 == len(fields) and fields[index + 1] == "-" and whole_host(fields[index + 2]):
        return whole_host(fields[index + 3])
    host = whole_host(fields[index + 1]) if index + 3 == len(fields) else ""
    return "" if host.endswith(".cluster.local") else host  # a workload's identity, as Linkerd has it


def whole_host(field: str) -> str:
    """Return the host, without its port, of a field that has the form of one: `example.com:443`; "" of any other."""
    return field.partition(":")[0].lower() if _WHOLE_HOST.fullmatch(field) else ""


@lru_cache(maxsize=16_384)
def _client_kept(text: str, _: Proxies | None) -> Client | None:
    return _client_of(text)


def address_in(field: str) -> str | None:
    """Return the client's address of a field, canonical; None where it holds none.

    The field may be the address, a chain of proxies (see `trust`), or the name of a file with the
    address after it."""
    if trusted() is not None:
        return client_in(_parts_of(field))
    if len(field) > _LONGEST:
        return None
    return client_in([_address_of(part) for part in field.split(",")])


def _parts_of(field: str) -> list[str | None]:
    """Return the addresses of a chain of trusted proxies, None for a part that is none; what counts is at its right."""
    parts = field[-_LONGEST:].split(",")[len(field) > _LONGEST :]
    return [_address_of(part) for part in parts if part.strip()]


def _address_of(part: str) -> str | None:
    """Return the address of one part of a chain: `192.0.2.1`, `(192.0.2.1)`, `for="[2001:db8::1]:4711";proto=https`."""
    address = canonical_address(part)
    if address is not None:
        return address
    text = _LEVEL.sub("", part.strip(_AROUND))
    if masked := _MASKED.fullmatch(text):
        text = f"{masked[1]}.{'0' if masked[2].strip('0123456789') else masked[2]}.0"
    if text[:4].lower() == "for=":
        text = text[4:].partition(";")[0].strip(_AROUND)
    if bare := _BARE_IN_BRACKETS.fullmatch(text):
        text = bare[1] + (bare[2] or "")
    return canonical_address(text) or _after_file_name(text)


def without_head(line: str) -> Iterator[str]:
    """Yield what a line may be without what a collector put before it; nothing where it has no such head."""
    if head := _SYSLOG.search(line, 0, _LONGEST_HEAD):
        rest = line[head.end() :].lstrip("\ufeff")
        yield rest
        if (body := _STRUCTURED.sub("", rest).lstrip("\ufeff")) != rest:
            yield body
    body = line
    for pattern in _HEADS:
        if found := pattern.match(body):
            body = body[found.end() :]
            yield body


def _after_file_name(text: str) -> str | None:
    _, colon, rest = text.partition(":")
    while colon:
        number, colon, after = rest.partition(":")
        address = canonical_address(rest)
        if address is not None and not _is_unused(address):
            # A number of a line before an IPv6 address reads like a part of it.
            other = canonical_address(after) if _is_number(number) else None
            return address if other is None or _is_unused(other) else None
        rest = after
    return None


def _is_unused(address: str) -> bool:
    parsed = ip_address(address)
    return parsed.is_reserved and not parsed.is_loopback


def _is_our_own(field: str, address: str) -> bool:
    """Return whether an address before another one is the virtual host: that of a server without another name."""
    return _has_servers_port(field) or ("," not in field and ip_address(address).is_loopback)


def _has_servers_port(field: str) -> bool:
    return field.endswith((":80", ":443")) and ("." in field or "]" in field) and "," not in field


def _host_in(field: str) -> str:
    """Return the host of "example.com" or "intranet:8080", also after the name of a file; "" where there is none."""
    if _TIME.match(field):  # of a container's runtime
        return ""
    parts = _NAME_OF_HOST.sub("", field.lower().strip("\"'[]()"), count=1).split(":")
    has_port = len(parts) > 1 and _is_number(parts[-1])
    host = parts[-2 if has_port else -1].rstrip(".")
    labels = host.split(".")
    named = all(_LABEL.fullmatch(label) for label in labels) and not host.replace(".", "").isdigit()
    return host if named and (has_port or len(labels) > 1 or host == "localhost") else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
