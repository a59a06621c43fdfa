"""The common and the combined format of Apache and nginx, as servers add to them.

`combined` is what both write by default, `common` the same without referrer and agent. Varnish, Icecast, Tomcat and
many others write them too. Servers add fields to these, so a line is taken apart by what its fields are: the client is
the first field that is an address, the request is the quoted field before status and bytes, referrer and agent are the
quoted fields after them. Some write the time without brackets, and programs that only write their log's own time have
it at the beginning of the line. A line in which one of these cannot be found is not understood; nothing is guessed and
nothing is read in half. Every pattern here takes time in proportion to the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice, pairwise

from ingest.logs.client import Client, address_in, client_of
from ingest.logs.formats.request import NotUnderstood, Request, request_of, site_in
from ingest.logs.formats.times import STAMP, time_in
from ingest.logs.trust import client_in, is_internal, is_proxy, trusted

_NO_TIME = NotUnderstood("no time such as [01/Jun/2025:12:00:00 +0000]")
_NO_ADDRESS = NotUnderstood("no field before the request is surely a client's address", 3)
_NO_REQUEST = NotUnderstood('no "request" with status and bytes after it', 3)
_NO_AGENT = NotUnderstood(
    "which of the quoted fields after the bytes are referrer and agent is not clear: give --log-format", 4
)
_OF_TLS = NotUnderstood("no status: the number behind the request is its bytes, as Apache's log of TLS has them", 3)
_TORN = NotUnderstood("a quoted field has no end", 3)
_LIKE_A_LINE = re.compile(r'\[([0-9]{1,4}[/-][0-9A-Za-z:/ ,+-]{4,40})\] ?"[^"]*" [0-9]{3} ')
_SURELY_BEHIND = re.compile(r'(?=" ([0-9]{3}) ([0-9]+|-) ")')  # a request

# Quoted fields may hold quotes, escaped or doubled. Possessive: what is taken is never given back, so no line is read
# twice.
_FIELD = re.compile(r'[ \t]+(?:"([^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+)"|([^ \t"][^ \t]*+))(?![^ \t])')
_STAMPS = 3  # of a line are looked at: a program's own may come before that of the request
_SIZE = re.compile(r"[0-9]+|-")
_STATUS = re.compile(r"[0-9]{3}")
_REQUEST_LINE = re.compile(r"[A-Z]{3,20} (?:https?://[^ ]+|[^ ].* HTTP/[0-9.]{1,3})")  # as no other quoted field
_TLS = re.compile(r"(?:TLS|SSL)v[0-9.]+")
_METHOD = re.compile(r"GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS")
_TARGET = re.compile(r"/|https?://")
_IS_NO_REQUEST = re.compile(r"/|(?!HTTP/)[A-Za-z][A-Za-z0-9_.-]*/[0-9]")  # a target without its method, an agent
# Times of a line that has none in brackets: as Payara quotes it, and as a program writes it before each line.
_BARE_STAMP = re.compile(
    r'(?<![^ \t"])([0-9]{1,2}/[A-Za-z]{3}/[0-9]{4}(?::[0-9]{2}){3}(?:[.,][0-9]{1,9})? [+-][0-9]{4})(?![^ \t"])'
)
_STAMP_AT_HEAD = re.compile(
    r"[ \t]*\[?([0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
    r"(?: ?(?:Z|[+-][0-9]{2}:?[0-9]{2}))?)(?![0-9A-Za-z])"
)
_PART = r"[0-9A-Fa-f:.\[\]]{3,47}"
_CHAIN = re.compile(rf"(?:(?:unknown|-),[ \t]*)*+{_PART}(?:,[ \t]*(?:unknown|{_PART}))*+")
_WITH_PORT = re.compile(r"[0-9.]+:[0-9]+|\[.*\]:[0-9]+")
_LONGEST_CHAIN = 1_024  # characters
_PAIR = 2  # fields: referrer and agent
# Fields that some name: host=www.example.com forwarded_for="192.0.2.7, 10.0.0.1". Some name their machine so.
_HOSTS = ("host", "vhost", "server_name")
_CHAINS = ("x_forwarded_for", "forwarded_for", "xff", "x_real_ip")
_NAMED_CHAINS = (*_CHAINS, *(f"http_{name}" for name in _CHAINS))
NAMED = rf"(?:^|[ \t])(?:http_)?(?:{'|'.join((*_HOSTS, *_CHAINS))})="  # a pattern that all engines read alike
_NAMED = re.compile(r'(?<![^ ])([a-z_]{2,20})=(?:"([^"]*)"|([^ "]+))(?![^ ])')
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PRODUCT = re.compile(r"(?!HTTP/)[A-Za-z][A-Za-z0-9_.-]*/[0-9]")  # how agents begin: Mozilla/5.0, curl/8.5.0
_Choose = Callable[[list[str]], tuple[str | None, str | None] | None]


def combined(line: str) -> Request | NotUnderstood:
    """Parse `IP - user [time] "request" status bytes` and, where they follow, `"referrer" "agent"`."""
    return _read(line, referrer_and_agent)


def common(line: str) -> Request | NotUnderstood:
    """Parse as `combined` does, but ignore the fields after the bytes."""
    return _read(line, lambda _: (None, None))


def _read(line: str, choose: _Choose) -> Request | NotUnderstood:
    found = _request(line, choose)
    if isinstance(found, Request):
        return found
    torn = [line] if found is _TORN else []
    if line[:1] == line[-1:] == '"':  # OpenLiteSpeed quotes the whole line, and tables double the quotes in it, too
        torn = []
        for text in (line[1:-1], line[1:-1].replace('""', '"')):
            whole = _request(text, choose)
            if isinstance(whole, Request):
                return whole
            torn += [text] if whole is _TORN else []
    ways = (_request(text, choose, loosely=True) for text in torn)
    return next((whole for whole in ways if isinstance(whole, Request)), found)


def _request(line: str, choose: _Choose, loosely: bool = False) -> Request | NotUnderstood:
    """Parse a line; `loosely`: also one in which there are quotes that the server did not escape."""
    stamp, client = _stamp_and_client(line)
    at = None if stamp is None else time_in(stamp[1])
    if stamp is None or at is None:
        its = _LIKE_A_LINE.search(line)
        return NotUnderstood(f"{_NO_TIME.why}: [{its[1]}] is none", 3) if its else _NO_TIME
    end = stamp.end()
    if line[end : end + 1] == '"':  # it ends a quoted time, or begins the request
        is_quoted = line[stamp.start() - 1 : stamp.start()] == '"'
        line = f"{line[:end]} {line[end + is_quoted :]}"
    elif line[end : end + 1] == "]":
        end += 1
    fields = _fields(line, end)
    if fields is None and loosely:
        fields = _fields_by_their_ends(line[end:])
    if fields is None:
        return _TORN
    fields = _with_method(fields)
    is_of_program = stamp.re is _STAMP_AT_HEAD
    first = _first_request(fields, surely=is_of_program)
    if first is None and not is_of_program:
        fields = _with_bare_request(fields)
        first = _first_request(fields, surely=True)
    if first is None:
        return _NO_REQUEST
    # That log begins with the time; where a client stands before it, the number is the status.
    if client is None and first + 2 == len(fields) and any(_TLS.fullmatch(bare or "") for _, bare in fields[:first]):
        return _OF_TLS
    before = [quoted or bare or "" for quoted, bare in fields[:first]]
    if trusted() is not None and STAMP.search(" ".join(before)):  # one of them came with the request
        return _NO_ADDRESS
    if client is None and not line[: stamp.start()].strip(" \t-"):  # the time comes first
        client = client_of(" ".join(before))
    if client is None:
        return _NO_ADDRESS
    if is_of_program:  # what looks like a host there is the name of a logger
        client, before = client._replace(host=""), []
    request, status = fields[first][0] or "", fields[first + 1][0] or fields[first + 1][1] or ""
    has_size = first + 2 < len(fields) and (fields[first + 2][0] is None or _is_size(fields[first + 2]))
    rest = fields[first + 2 + has_size :]
    behind = [quoted for quoted, _ in rest if quoted is not None]
    if not client.host:
        _, size_next = rest[0] if rest else (None, None)
        client = client._replace(host=host_among(before, size_next or ""))
    found = choose(behind) or choose([quoted for quoted, _ in fields[:first] if quoted is not None][-1:] + behind)
    if found is None:
        return _NO_AGENT
    return request_of(client_behind(client, rest), at, request, status, *found)


def _stamp_and_client(line: str) -> tuple[re.Match[str] | None, Client | None]:
    """Return the time of the request and the client before it: the first time that has one, or the first of all."""
    stamps = list(islice(STAMP.finditer(line), _STAMPS))
    for stamp in stamps:
        if client := client_of(line[: stamp.start()]):
            return stamp, client
    if stamps:
        return stamps[0], None
    if bare := _BARE_STAMP.search(line):
        return bare, client_of(line[: bare.start()].rstrip('"'))
    return _STAMP_AT_HEAD.match(line), None


def host_among(before: list[str], behind: str) -> str:
    """Return the virtual host among the fields between time and request, or right behind the bytes; "" elsewhere."""
    return next(filter(None, map(site_in, [*before, behind])), "")


def client_behind(client: Client, rest: list[tuple[str | None, str | None]]) -> Client:
    """Return the client with what fields after the bytes say: a host that is named so, and who was passed on."""
    quoted = [quoted for quoted, _ in rest if quoted is not None]
    bare = " ".join(bare for _, bare in rest if bare is not None)
    if "=" not in bare:
        return _passed_on(client, quoted)
    named = {name: inside or its for name, inside, its in _NAMED.findall(bare)}
    hosts = (site_in(named[name]) for name in _HOSTS if name in named)
    chains = [named[name] for name in _NAMED_CHAINS if name in named]
    if not client.host:
        client = client._replace(host=site_in(named.get("http_host", "")), named=" ".join(filter(None, hosts)))
    return _passed_on(client, (quoted or ["-"] * _PAIR) + chains)


def _passed_on(client: Client, quoted: list[str]) -> Client:
    """Return the client that a balancer passed on in a quoted field after the bytes; `client` itself elsewhere.

    An internal address with a port is no client: it is the server that the request was passed to. Behind trusted
    proxies, a chain behind referrer and agent counts before these, which anybody may send."""
    if not is_proxy(client.ip):
        return client
    if trusted() is not None:
        chains = [*(text for text in quoted[_PAIR:] if _ends_as_chain(text)), *filter(_is_chain, quoted[:_PAIR])]
        passed_on = (address_in(text) for text in chains if not _is_server(text.rpartition(",")[2]))
        return client._replace(ip=next(filter(None, passed_on), client.ip))
    for field in quoted:
        if _is_chain(field):
            addresses = [
                address
                for part in field.split(",")
                if (address := address_in(part)) is not None and not _is_server(part)
            ]
            if addresses:
                return client._replace(ip=client_in(addresses) or client.ip)
    return client


def _is_server(part: str) -> bool:
    """Return whether an address is that of a server that the request was passed to: internal, with a port."""
    address = address_in(part)
    return address is not None and is_internal(address) and _WITH_PORT.fullmatch(part.strip(" \t")) is not None


def _ends_as_chain(text: str) -> bool:
    """Return whether a field is a chain that trusted proxies passed on, whatever was sent at its left."""
    return _is_chain(text) or ("," in text and address_in(text) is not None)


def fields_behind_agent(text: str) -> list[tuple[str | None, str | None]]:
    """Return the fields after the bytes, of which the text that holds those behind the agent is known."""
    return [("-", None), ("-", None), *(_fields(" " + text, 0) or ())]


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
    return _CHAIN.fullmatch(text[:_LONGEST_CHAIN]) is not None and address_in(text[:_LONGEST_CHAIN]) is not None


def _fields(line: str, start: int) -> list[tuple[str | None, str | None]] | None:
    """Return the fields from `start` on, each (quoted, None) or (None, bare); None where a quoted one has no end."""
    fields: list[tuple[str | None, str | None]] = []
    while match := _FIELD.match(line, start):
        quoted = match[1]
        fields.append((quoted.replace('""', '"') if quoted and '""' in quoted else quoted, match[2]))
        start = match.end()
    return None if line[start:].strip(" \t") else fields


def _with_method(fields: list[tuple[str | None, str | None]]) -> list[tuple[str | None, str | None]]:
    """Return the fields with method, target and version as one, where only the target is quoted."""
    for index, ((_, method), (target, _)) in enumerate(pairwise(fields)):
        if target is not None and target.startswith("/") and method is not None and _METHOD.fullmatch(method):
            _, version = fields[index + 2] if index + 2 < len(fields) else (None, None)
            is_version = (version or "").startswith("HTTP/")
            request = f"{method} {target} {version if is_version else 'HTTP/1.1'}"
            return [*fields[:index], (request, None), *fields[index + 2 + is_version :]]
    return fields


def _with_bare_request(fields: list[tuple[str | None, str | None]]) -> list[tuple[str | None, str | None]]:
    """Return the fields with method, target and version as one, where none of them is quoted."""
    bare = [word or "" for _, word in fields]
    for index, (method, target, version) in enumerate(zip(bare, bare[1:], bare[2:], strict=False)):
        if version.startswith("HTTP/") and _METHOD.fullmatch(method) and _TARGET.match(target):
            return [*fields[:index], (f"{method} {target} {version}", None), *fields[index + 3 :]]
    return fields


def _fields_by_their_ends(text: str) -> list[tuple[str | None, str | None]] | None:
    """Return request, status, bytes, referrer and agent where quotes stand in them that the server did not escape.

    None where more than these follow, and where one of them may end at several places."""
    found = list(_SURELY_BEHIND.finditer(text))
    if len(found) != 1 or not text.startswith(' "') or text[-1:] != '"':
        return None
    start, (status, size) = found[0].start(), found[0].groups()
    quoted = text[start + len(f'" {status} {size} "') : -1].split('" "')
    if len(quoted) != _PAIR or not _REQUEST_LINE.fullmatch(text[2:start]):
        return None
    return [(text[2:start], None), (None, status), (None, size), *((each, None) for each in quoted)]


def _first_request(fields: list[tuple[str | None, str | None]], surely: bool) -> int | None:
    """Return the index of the request: the first quoted field before a status and a count of bytes.

    One that can be nothing else needs no count of bytes; `surely`: only such a one counts."""
    for index, (request, _) in enumerate(fields[:-1]):
        if request is None or not _STATUS.fullmatch(fields[index + 1][0] or fields[index + 1][1] or ""):
            continue
        has_size = not surely and index + 2 < len(fields) and _is_size(fields[index + 2])
        if (has_size and not _IS_NO_REQUEST.match(request)) or _REQUEST_LINE.fullmatch(request):
            return index
    return None


def _is_size(field: tuple[str | None, str | None]) -> bool:
    return _SIZE.fullmatch(field[0] or field[1] or "") is not None
