"""Named fields as a request: what servers, balancers and libraries call the parts of one.

A name counts without its case and its punctuation: `remote_ip`, `remoteIp` and `remote.ip` are one. Where a line has
several fields for a part, the first of the list that has a value is taken. A server behind a balancer sees the
balancer's address; the visitor's is the first public one in the chain that it passes on (X-Forwarded-For).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from ingest.logs.client import address_in, is_internal
from ingest.logs.formats.request import NotUnderstood, Request, as_text, origin_of, split_request, without_origin
from ingest.logs.formats.times import time_in

# Headers in which proxies pass the client on, and what stands before a header's name: `request_`, `headers.`, `cs(`.
_PASSED_ON = ("xforwardedfor", "xoriginalforwardedfor", "cfconnectingip", "trueclientip", "fastlyclientip",
              "azureclientip", "originalip", "xrealip", "xclientip", "forwarded")  # fmt: skip
_BEFORE = ("", "http", "request", "requestheaders", "headers", "header", "reqheaders", "cs", "proxyadd")

# Names in lower case without punctuation. nginx and Apache first, then W3C, Caddy, Traefik, Envoy, ECS, clouds.
NAMES: dict[str, tuple[str, ...]] = {
    "time": (
        "timelocal", "timeiso8601", "msec", "startutc", "starttime", "startlocal", "requesttimeepoch",
        "edgestarttimestamp", "timestamp", "time", "ts", "datetime", "eventtime", "requestreceivedat",
    ),
    "client": (
        "remoteaddr", "requestclientip", "remoteip", "clientip", "clienthost", "clientaddr", "cip", "csip",
        "requestremoteip", "requestremoteaddr", "httprequestremoteip", "sourceip", "identitysourceip", "clientaddress",
        "remoteaddress",
        "downstreamremoteaddress", "sourceaddress", "remotehost", "ipaddress", "ip", "client", "remote", "addr",
        "host",
    ),
    "forwarded": (
        *(before + name for name in _PASSED_ON for before in _BEFORE), "forwardedfor", "xff", "fwd",
        "realip",
        "proxyprotocoladdr",
    ),
    "request": ("request", "requestline", "httprequest", "req"),
    "method": (
        "requestmethod", "method", "httpmethod", "csmethod", "httprequestmethod", "httprequestrequestmethod",
        "clientrequestmethod", "reqmethod", "verb",
    ),
    "target": (
        "originalrequesturiwithargs", "requesturi", "uri", "requestpath", "path", "csuristem", "csuri", "urloriginal",
        "url", "requesturl", "httprequestrequesturl", "clientrequesturi", "clientrequestpath", "requrl", "urlpath",
        "uripath", "rawpath", "resourcepath",
    ),
    "query": ("args", "querystring", "csuriquery", "query", "urlquery", "rawquerystring", "uriquery", "requestquery"),
    "status": (
        "status", "statuscode", "responsecode", "response", "scstatus", "downstreamstatus", "httpresponsestatuscode",
        "responsestatus", "responsestatuscode", "httprequeststatus", "edgeresponsestatus", "httpstatus",
        "httpstatuscode", "originstatus", "code", "resstatuscode",
    ),
    "referrer": (
        "httpreferer", "httpreferrer", "referer", "referrer", "csreferer", "csreferrer", "requestheadersreferer",
        "requestreferer", "headersreferer", "httprequestreferrer", "httprequestreferer", "clientrequestreferer",
        "creferrer", "creferer",
    ),
    "agent": (
        "httpuseragent", "useragent", "agent", "csuseragent", "requestheadersuseragent", "requestuseragent",
        "headersuseragent", "useragentoriginal", "httprequestuseragent", "clientrequestuseragent", "ua", "cuseragent",
    ),
    "host": (
        "xhostheader", "host", "httphost", "servername", "cshost", "requesthost", "requestheadershost",
        "headershost", "clientrequesthost", "authority", "vhost", "virtualhost", "urldomain", "propertieshostname",
    ),
}  # fmt: skip
# What some programs call the time of a line of JSON, and others something else.
_TIMES_IN_JSON = ("requesttime", "date")
_ADDRESSES = ("url", "requesturl", "httprequestrequesturl", "urloriginal", "csuri")  # absolute, mostly
REQUESTED = ("method", "target", "query", "request", "status", "referrer", "host")  # what a page depends on
NEEDED = ("time", "client", "status", "request")  # in the order in which they are looked for

_IN_WORDS = {"time": "a time", "client": "a client's address", "status": "a status", "request": "a request"}

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
METHOD = re.compile(r"[A-Za-z]{1,32}(?:-[A-Za-z]{1,32})*")
_STATUS = re.compile(r"(?:[A-Z_]{1,32}/)?([0-9]{1,9})(?:\.0)?", re.ASCII)  # of caches: TCP_HIT/200
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://([^/?#\s]{1,260})")
_HOST_AND_PATH = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]{1,5})?/")  # `$host$request_uri`
_LONGEST_NAME = 64  # characters
_LONGEST_CHAIN = 1_024  # characters
_USUAL_PORT = re.compile(r":(?:80|443)$")


def compact(name: str) -> str:
    """Return a field's name as `NAMES` has it: lower case, letters and digits, and at most 64 characters."""
    return _compact(name[:_LONGEST_NAME])


@lru_cache(maxsize=4_096)
def _compact(name: str) -> str:
    return _NOT_IN_NAMES.sub("", name.lower())


class Fields:
    """The fields that the lines of a log have, by what they say of a request."""

    def __init__(self, names: Iterable[str], whole: bool = False, of_json: bool = False) -> None:
        """`names` are compact. `whole`: the targets are absolute addresses, and name the page's host. `of_json`: where
        no field has a method, all are GET, and a field that is mostly a day or a duration may be the time."""
        here = frozenset(names)
        self._names = {part: tuple(name for name in known if name in here) for part, known in NAMES.items()}
        if of_json:
            self._names["time"] += tuple(name for name in _TIMES_IN_JSON if name in here)
        if len(self._names["client"]) > 1:  # some call the client their host
            self._names["client"] = tuple(name for name in self._names["client"] if name != "host")
        elif "host" in self._names["client"] and not self._names["forwarded"]:
            self._names["host"] = tuple(name for name in self._names["host"] if name != "host")
        self._day = "date" in here and "time" in here
        self._whole = whole or not here.isdisjoint(_ADDRESSES)
        self.has_agent = bool(self._names["agent"])
        has = {part: bool(self._names[part]) for part in NAMES}
        self._all_get = of_json and has["target"] and not has["method"] and not has["request"]
        has["time"] |= self._day
        has["client"] |= has["forwarded"]
        has["request"] |= (has["method"] or self._all_get) and has["target"]
        self.missing = [part for part in NEEDED if not has[part]]

    def names(self, *parts: str) -> list[str]:
        """Return the names that are read for these parts of `NAMES`, the first to be looked at first."""
        day = ["date", "time"] if self._day and "time" in parts else []
        return list(dict.fromkeys([*day, *(name for part in parts for name in self._names[part])]))

    def read(self, values: Mapping[str, str]) -> Request | NotUnderstood:
        """Make a request of the values of one line, by their compact names."""
        at = self.time(values)
        if at is None:
            return self._without("time", values)
        ip = self.client(values)
        if ip is None:
            return self._without("client", values)
        found = self.request(values, ip, at, self.agent(values))
        return self._without(found, values) if isinstance(found, str) else found

    def request(
        self, values: Mapping[str, str], ip: str = "", at: int = 0, agent: str | None = None
    ) -> Request | str:
        """Make a request of the values of `names(*REQUESTED)`; return the part that is missing, status or request."""
        status = _STATUS.fullmatch(self._first("status", values))
        method, target = self._request(values)
        if self._whole and _HOST_AND_PATH.match(target):
            target = f"https://{target}"
        # HAProxy writes -1 where nobody was answered; S3 has lines of what it does by itself.
        given = self._first("status", values)
        if status is None and given != "-1" and (given or method != "-"):
            return "status"
        if not method:
            return "request"
        host = self._host(values, target)
        return Request(
            ip,
            at,
            method,
            without_origin(target),
            int(status[1]) if status else 0,
            self._first("referrer", values),
            agent,
            host,
        )

    def agent(self, values: Mapping[str, str]) -> str | None:
        """Return the agent, "" where none was sent; None where the log records none."""
        return as_text(self._first("agent", values)) if self.has_agent else None

    def _first(self, part: str, values: Mapping[str, str]) -> str:
        """Return the first value of a part; servers write `-` where there is none."""
        for name in self._names[part]:
            value = values.get(name, "")
            if value and value != "-":
                return value
        return ""

    def time(self, values: Mapping[str, str]) -> int | None:
        """Return the milliseconds UTC of the time; None where there is none."""
        if self._day:
            at = time_in(f"{values.get('date', '')} {values.get('time', '')}")
            if at is not None:
                return at
        for name in self._names["time"]:
            at = time_in(values.get(name, ""))
            if at is not None:
                return at
        return None

    def client(self, values: Mapping[str, str]) -> str | None:
        """Return the canonical address of the client; None where there is none."""
        ip = next(filter(None, (address_in(values.get(name, "")) for name in self._names["client"])), None)
        if not self._names["forwarded"]:
            return ip
        passed_on = [
            address
            for name in self._names["forwarded"]
            for part in values.get(name, "")[:_LONGEST_CHAIN].split(",")
            if (address := address_in(part)) is not None
        ]
        public = next((address for address in passed_on if not is_internal(address)), None)
        return public or (passed_on[0] if passed_on and (ip is None or is_internal(ip)) else ip)

    def _request(self, values: Mapping[str, str]) -> tuple[str, str]:
        method, target = self._first("method", values), self._first("target", values)
        if self._all_get and target:
            method = "GET"
        for name in self._names["request"]:
            if value := values.get(name):
                its_method, its_target = split_request(value)
                if not method or (its_target and METHOD.fullmatch(its_method)):
                    return its_method, its_target
                if value != method:  # the method has a field of its own, as by Logstash: then this is the target
                    target = value
                break
        query = self._first("query", values).removeprefix("?")
        return method, f"{target}?{query}" if target and query and "?" not in target else target

    def _host(self, values: Mapping[str, str], target: str) -> str:
        if self._whole and (origin := _ORIGIN.match(target)):
            return as_text(_USUAL_PORT.sub("", origin[1]))
        for name in self._names["host"]:
            value = values.get(name, "")
            if value not in ("", "-", "_") and (name in ("host", "httphost") or address_in(value) is None):
                return as_text(_USUAL_PORT.sub("", value))
        return origin_of(target)

    def _without(self, part: str, values: Mapping[str, str]) -> NotUnderstood:
        given = next((f"{name} is {values[name][:60]!r}" for name in self._names[part] if values.get(name)), "empty")
        return NotUnderstood(f"no field holds {_IN_WORDS[part]}: {given}", self.found(values))

    def found(self, values: Mapping[str, str]) -> int:
        """Return how many of the needed parts have a value that can be one."""
        has_status = _STATUS.fullmatch(self._first("status", values)) is not None
        has_request = all(self._request(values))
        return (self.time(values) is not None) + (self.client(values) is not None) + has_status + has_request


@lru_cache(maxsize=1024)
def fields_of(names: tuple[str, ...]) -> Fields:
    """Return the `Fields` of a line of JSON that has these compact names."""
    return Fields(names, of_json=True)
