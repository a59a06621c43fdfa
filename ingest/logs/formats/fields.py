"""Named fields as a request: what servers, balancers and libraries call the parts of one.

A name counts without its case and its punctuation: `remote_ip`, `remoteIp` and `remote.ip` are one. Where a line has
several fields for a part, the first of the list that has a value is taken. A server behind a balancer sees the
balancer's address; the visitor's is the first public one in the chain that it passes on (X-Forwarded-For).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import unquote

from ingest.logs.client import address_in
from ingest.logs.formats.nested import ending_so, own_times
from ingest.logs.formats.queries import query_in
from ingest.logs.formats.request import (
    NotUnderstood,
    Request,
    as_text,
    origin_of,
    site_in,
    split_request,
    with_blanks,
    without_origin,
)
from ingest.logs.formats.times import time_in
from ingest.logs.trust import client_in, is_internal, is_proxy, trusted

# Headers in which proxies pass the client on, and what stands before a header's name: `request_`, `headers.`, `cs(`.
_PASSED_ON = ("xforwardedfor", "xoriginalforwardedfor", "cfconnectingip", "trueclientip", "fastlyclientip",
              "azureclientip", "originalip", "xrealip", "xclientip", "forwarded", "xclusterclientip", "flyclientip",
              "xazureclientip", "xenvoyexternaladdress", "doconnectingip", "xoriginalclientip", "xsucuriclientip",
              "incapclientip", "alicdnrealip", "cdnsrcip", "xappengineuserip", "xnfclientconnectionip", "proxyclientip",
              "wlproxyclientip", "xproxyuserip", "varnishclientip", "cfconnectingipv6")  # fmt: skip
_BEFORE = ("", "http", "request", "requestheaders", "headers", "header", "reqheaders", "cs", "proxyadd")

PASSED_ON = (*_PASSED_ON, "xff")  # how names of chains end

# Names in lower case without punctuation. nginx and Apache first, then W3C, Caddy, Traefik, Envoy, ECS, clouds.
NAMES: dict[str, tuple[str, ...]] = {
    "time": (
        "timelocal", "timeiso8601", "msec", "startutc", "starttime", "startlocal", "requesttimeepoch",
        "edgestarttimestamp", "timestart", "timemsec", "dateaccess", "timestamp", "time", "ts", "datetime", "eventtime",
        "eventtimestamp", "eventtimestampms", "requestreceivedat", "reqtimesec", "timeepoch", "startedat",
        "timegenerated", "when", "edgeendtimestamp", "requestdatetime", "timemicros", "unixtime", "timeunixnano",
        "timestampseconds", "t", "timestampms", "asctime", "dt", "realtimetimestamp",
        "requestedat", "requesttimestamp", "accesstime", "logtime", "eventdatetime", "ibmdatetime", "requeststarttime",
        "starttimestamp", "timestartusec", "timestartmsec", "timestampinms", "timestampmillis", "timestamputc",
        "datetimeutc", "timeutc", "unixtimestamp", "epoch",
        "loggedat", "createdat", "insertedat",  # when it was stored: only where no field has the request's own
    ),
    "client": (
        "remoteaddr", "requestclientip", "remoteip", "clientip", "clienthost", "clientaddr", "cip", "csip",
        "requestremoteip",
        "requestremoteaddr", "httprequestremoteip", "sourceip", "identitysourceip", "clientaddress", "remoteaddress",
        "downstreamremoteaddress", "downstreamremoteaddresswithoutport", "sourceaddress", "remotehost",
        "remoteipaddress", "clientrealip", "srcip", "cliip", "requestip", "calleripaddress", "idorigh",
        "ipaddress", "ip", "client", "remote", "src", "addr", "netpeerip",
        "netsockpeeraddr", "networkpeeraddress", "host", "address",
    ),
    "forwarded": (
        *(before + name for name in _PASSED_ON for before in _BEFORE), "forwardedfor", "xff", "fwd",
        "realip", "httpclientip", "headerclientip",
        "proxyprotocoladdr",
    ),
    "request": ("request", "requestline", "requestfirstline", "httprequest", "req", "requestedurl",
                "firstrequestline"),
    "method": (
        "requestmethod", "method", "httpmethod", "csmethod", "httprequestmethod", "httprequestrequestmethod",
        "clientrequestmethod", "clientrequesthttpmethodname", "reqmethod", "requestverb", "verb",
    ),
    "target": (
        "originalrequesturiwithargs", "xenvoyoriginalpath", "xenvoyoriginpath", "requesturi", "uri", "requestpath",
        "path", "csuristem", "csuri", "urloriginal", "documenturi",
        "url", "requesturl", "httprequestrequesturl", "clientrequesturi", "clientrequestpath", "requrl", "urlpath",
        "uripath", "rawpath", "resourcepath", "reqpath", "requesteduri", "urlfull", "httppath", "httpuri", "httpurl",
        "httptarget", "originalurl", "requri", "pathandquery", "pathname", "resource",
    ),
    "query": ("args", "querystring", "csuriquery", "query", "urlquery", "rawquerystring", "uriquery", "requestquery",
              "httpquery", "querystr", "uriparam", "clientrequestquery", "queryparams", "queryparameters",
              "requestargs", "search"),
    "status": (
        "status", "statuscode", "responsecode", "response", "scstatus", "downstreamstatus", "httpresponsestatuscode",
        "responsestatus", "responsestatuscode", "respstatus", "respstatuscode", "httprequeststatus",
        "edgeresponsestatus", "httpstatus",
        "httpstatuscode", "originstatus", "code", "resstatuscode", "returncode", "elbstatuscode",
        "resultcode", "httpcode",
    ),
    "referrer": (
        "httpreferer", "httpreferrer", "referer", "referrer", "csreferer", "csreferrer", "requestheadersreferer",
        "requestreferer", "headersreferer", "httprequestreferrer", "httprequestreferer", "clientrequestreferer",
        "creferrer", "creferer", "refererurl", "referrerurl", "ref",
    ),
    "agent": (
        "httpuseragent", "useragent", "agent", "csuseragent", "requestheadersuseragent", "requestuseragent",
        "headersuseragent", "useragentoriginal", "httprequestuseragent", "clientrequestuseragent", "ua", "cuseragent",
        "clientua",
    ),
    "host": (
        "originalhost", "xhostheader", "hostheader", "httphost", "httphostname", "requestheadershost", "headershost",
        "clientrequesthost", "clientrequesthttphost", "requesthost", "reqhost", "authority", "vhost", "virtualhost",
        "host", "servername", "cshost", "urldomain", "propertieshostname", "localservername",
        "serveraddress", "domain", "site",
    ),
    "named": ("domainname", "nethostname"),  # the page's host, or that of a machine
}  # fmt: skip
# What some programs call the time of a line of JSON, and others something else: a duration, or when it was collected.
_TIMES_IN_JSON = ("requesttime", "date", "attimestamp")
_DAYS = (("date", "time"), ("requestdate", "requesttime"))  # a day and a clock in two fields
ZONES = ("timezone", "requesttimezone", "tz", "utcoffset")  # and their zone in a third, where it is an offset
_OFFSET = re.compile(r"[+-][0-9]{2}:?[0-9]{2}")
_BARE_CLOCK = re.compile(r"[0-9:.,]+(?:[ \u202f][AaPp][Mm])?")  # without a zone of its own
_COLLECTED = ("sourcetype", "shortmessage")  # in objects of collectors, in which `host` is the machine
READ_IN_JSON = frozenset(
    (*_TIMES_IN_JSON, "requestdate", *ZONES, *_COLLECTED, *(name for names in NAMES.values() for name in names))
)
_ANYBODYS = frozenset(("host", "address"))  # the client's only where no other field is
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - where a server listens: no client
_SAYING_LITTLE = ("serveraddress", "domain", "site")  # hosts only where they can be one
_ADDRESSES = ("url", "requesturl", "httprequestrequesturl", "urloriginal", "urlfull", "csuri")  # absolute, mostly
REQUESTED = ("method", "target", "query", "request", "status", "referrer", "host", "named")  # what a page depends on
_NOT_NEEDED = ("forwarded", "query", "referrer", "agent", "host", "named")
NEEDED = ("time", "client", "status", "request")  # in the order in which they are looked for

_IN_WORDS = {"time": "a time", "client": "a client's address", "status": "a status", "request": "a request"}

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
METHOD = re.compile(r"[A-Za-z]{1,32}(?:-[A-Za-z]{1,32})*")
_REQUEST_LINE = re.compile(r"[A-Z]{3,10} [^ ].* HTTP/[0-9.]{1,3}")
# `TCP_HIT/200` is of caches, `200 OK` of those who add the words.
_STATUS = re.compile(r" ?(?:[A-Z_]{1,32}/|HTTP/[0-9.]{1,3} )?([0-9]{1,9})(?:\.0)?(?: [A-Za-z' -]{0,40})?", re.ASCII)
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://([^/?#\s]{1,260})")
_HOST_AND_PATH = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]{1,5})?/")  # `$host$request_uri`
_OF_LOG_ANALYTICS = re.compile(r"(?<=[A-Za-z0-9])_[sdtgb]$")  # Azure's: the type of a field, behind its name
_FIRST = re.compile(r"(?:[.>]?\[0\]|[.>]0|\{\})$")  # of a list, behind the name of a field
_LONGEST_NAME = 128  # characters
_LONGEST_CHAIN = 1_024  # characters
_USUAL_PORT = re.compile(r":(?:80|443)$")
_LISTS = ('["', "['")  # how a list of texts begins as a text
_FOR = re.compile(r'(?:^|[;,]) *for="?([^";,]+)', re.IGNORECASE)  # of the header `Forwarded`, RFC 7239
# What programs and exports write where there is nothing, and what a filter writes over what is not to be known.
_TAKEN_OUT = frozenset(("REDACTED", "[REDACTED]", "[Redacted]", "<redacted>", "redacted", "***"))
_NOTHING = _TAKEN_OUT.union(
    ("", "-", "null", "(null)", "nil", "<nil>", "<null>", "undefined", "None", "N/A", "NULL", "\\N", "nan", "NaN",
     "(none)", "(not set)")
)  # fmt: skip
_GONE = _NOTHING - {"", "-"}  # what was there is not known
_LONGEST_OF_NOTHING = max(map(len, _NOTHING))
_SEVERAL_HOSTS = "~.*"  # how nginx's names of several begin
_BEGINS_REQUEST = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (?=/|https?://)")
_OF_IIS = frozenset(("cip", "csmethod", "csuristem", "csuriquery", "scstatus"))
_ENCODED_ADDRESS = re.compile(r"https?%3A%2F%2F[^/]*", re.IGNORECASE)


def compact(name: str) -> str:
    """Return a field's name as `NAMES` has it: lower case, letters and digits, of the last 128 characters.

    Elastic's `@timestamp` is `attimestamp`: beside it, `timestamp` is the line's own."""
    return _compact(name[-_LONGEST_NAME:])


@lru_cache(maxsize=4_096)
def _compact(name: str) -> str:
    if name == "@timestamp":
        return "attimestamp"
    return _NOT_IN_NAMES.sub("", _OF_LOG_ANALYTICS.sub("", _FIRST.sub("", name)).lower())


class Fields:
    """The fields that the lines of a log have, by what they say of a request."""

    def __init__(
        self,
        names: Iterable[str],
        whole: bool = False,
        of_json: bool = False,
        by_ends: bool = False,
        all_get: bool = False,
    ) -> None:
        """`names` are compact. `whole`: the targets are absolute addresses, and name the page's host. `all_get`: where
        no field has a method, all are GET. `of_json`: that, and a field that is mostly a day or a duration may be the
        time, and of what no line needs, names count that only end as known ones do; with `by_ends`, of all."""
        here = frozenset(names)
        self._names = {part: tuple(name for name in known if name in here) for part, known in NAMES.items()}
        self._of_json = of_json
        if of_json:
            parts = [part for part in NAMES if part in _NOT_NEEDED or self._names[part] == ("address",)]
            self._know_by_ends(here, [*NAMES] if by_ends else parts)
        # Some call the client their host: beside `address`, the line says which of them it is.
        self._is_either = self._names["client"] == ("host", "address")
        if len(self._names["client"]) > 1 and not self._is_either:
            self._names["client"] = tuple(name for name in self._names["client"] if name != "host")
        elif self._names["client"] == ("host",) and not self._names["forwarded"]:
            self._names["host"] = tuple(name for name in self._names["host"] if name != "host")
        self.has_plain_client = not self._is_either and self._names["client"][:1] != ("address",)
        self._day = next((pair for pair in _DAYS if here.issuperset(pair)), ())
        self._zone = next((name for name in ZONES if name in here), "") if self._day and of_json else ""
        self._whole = whole or not here.isdisjoint(_ADDRESSES)
        self._of_iis = not here.isdisjoint(_OF_IIS)
        self.has_agent = bool(self._names["agent"])
        has = {part: bool(self._names[part]) for part in NAMES}
        self._all_get = (of_json or all_get) and has["target"] and not has["method"] and not has["request"]
        has["time"] |= bool(self._day)
        has["client"] |= has["forwarded"]
        has["request"] |= (has["method"] or self._all_get) and has["target"]
        self.missing = [part for part in NEEDED if not has[part]]

    def _know_by_ends(self, here: frozenset[str], parts: list[str]) -> None:
        for part in parts:
            known = self._names[part]
            if part in ("forwarded", "status"):
                self._names[part] = tuple(dict.fromkeys((*known, *ending_so(part, here))))
            elif _ANYBODYS.issuperset(known):
                self._names[part] = tuple(dict.fromkeys((*ending_so(part, here), *known)))
        times = (name for name in _TIMES_IN_JSON if name in here)
        self._names["time"] = (*own_times(here), *self._names["time"], *times)
        if not here.isdisjoint(_COLLECTED):
            self._names["host"] = tuple(name for name in self._names["host"] if name != "host")

    def names(self, *parts: str) -> list[str]:
        """Return the names that are read for these parts of `NAMES`, the first to be looked at first."""
        day = [*self._day, *filter(None, [self._zone])] if "time" in parts else []
        either = self._names["client"] if "host" in parts and self._is_either else ()
        return list(dict.fromkeys([*day, *(name for part in parts for name in self._names[part]), *either]))

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
        status = self._status(values)
        method, target = self._request(values)
        if self._whole and _HOST_AND_PATH.match(target):
            target = f"https://{target}"
        # HAProxy writes -1 where nobody was answered; S3 has lines of what it does by itself.
        given = "" if status else self._first("status", values)
        if status is None and given != "-1" and (given or method != "-"):
            return "status"
        if not method or (not target and self._is_gone(values)):
            return "request"
        referrer = self._referrer(values)
        if self._of_json:
            method = method.upper()  # Elastic's names had it in small letters
            if _ENCODED_ADDRESS.fullmatch(referrer):
                referrer = unquote(referrer, errors="surrogateescape")
        host = self._host(values, target)
        named = " ".join(filter(None, (site_in(values.get(name, "")) for name in self._names["named"])))
        return Request(
            ip, at, method, without_origin(target), int(status or 0), referrer, agent, host, named
        )

    def agent(self, values: Mapping[str, str]) -> str | None:
        """Return the agent, "" where none was sent; None where the log records none, or it was taken out of it."""
        if not self.has_agent:
            return None
        agent = self._first("agent", values)
        if not agent and any(values.get(name) in _TAKEN_OUT for name in self._names["agent"]):
            return None
        return as_text(with_blanks(agent, self._of_iis) if self._of_json else agent)

    def _referrer(self, values: Mapping[str, str]) -> str:
        """Return the referrer; `ref` is one only where it is an address, for some call a branch or a coupon so."""
        found = self._first("referrer", values)
        is_short = found and "://" not in found and "ref" in self._names["referrer"]
        if is_short and all(values.get(name, "") in ("", "-") for name in self._names["referrer"] if name != "ref"):
            return ""
        return found

    def _first(self, part: str, values: Mapping[str, str]) -> str:
        """Return the first value of a part; servers write `-` where there is none."""
        for name in self._names[part]:
            value = values.get(name, "")
            if len(value) > _LONGEST_OF_NOTHING or value not in _NOTHING:
                return value
        return ""

    def _query(self, values: Mapping[str, str]) -> str:
        """Return the first query that has a field of its own."""
        given = ((name, values.get(name, "")) for name in self._names["query"])
        found = (query_in(name, value) for name, value in given if value not in _NOTHING)
        return next(filter(None, found), "")

    def _status(self, values: Mapping[str, str]) -> str | None:
        """Return the digits of the status; None where there is none. Beside a word, which some call so, a number
        counts that can only be one: `response` may be the bytes of it."""
        found = _STATUS.fullmatch(self._first("status", values))
        if found is None and len(self._names["status"]) > 1:
            names = (name for name in self._names["status"] if name != "response")
            ways = (_STATUS.fullmatch(values.get(name, "")) for name in names)
            found = next((way for way in ways if way and 100 <= int(way[1]) <= 599), None)
        return found and found[1]

    def time(self, values: Mapping[str, str]) -> int | None:
        """Return the milliseconds UTC of the time; None where there is none."""
        if self._day:
            zone = values.get(self._zone, "")
            texts = [values.get(name, "") for name in self._day]
            needs_zone = _OFFSET.fullmatch(zone) and _BARE_CLOCK.fullmatch(texts[-1])
            at = time_in(" ".join([*texts, zone] if needs_zone else texts))
            if at is not None:
                return at
        for name in self._names["time"]:
            at = time_in(values.get(name, ""))
            if at is not None:
                return at
        return None

    def client(self, values: Mapping[str, str]) -> str | None:
        """Return the canonical address of the client; None where there is none."""
        names = self._names["client"]
        if self._is_either and not self._host_is_client(values):
            names = ("address",)
        ip = next(filter(None, (_address(values.get(name, ""), name) for name in names)), None)
        if not self._names["forwarded"]:
            return ip
        if trusted() is not None:
            chains = (_of_trusted(values.get(name, "")) for name in self._names["forwarded"])
            return next(filter(None, chains), ip) if ip is None or is_proxy(ip) else ip
        passed_on = [
            address_in(part)
            for name in self._names["forwarded"]
            for part in _chain(values.get(name, "")[:_LONGEST_CHAIN])
        ]
        found = client_in(passed_on)
        return found if found and (ip is None or is_internal(ip) or not is_internal(found)) else ip

    def _host_is_client(self, values: Mapping[str, str]) -> bool:
        """Return whether of `host` and `address` the first is the client: where the other is no visitor's address, or
        the first is none of a server's own network."""
        host, other = (_address(values.get(name, ""), name) for name in ("host", "address"))
        return host is not None and (other is None or not is_internal(host) or is_internal(other))

    def _request(self, values: Mapping[str, str]) -> tuple[str, str]:
        method, target = self._first("method", values), self._first("target", values)
        if not method and (_REQUEST_LINE.fullmatch(target) or _BEGINS_REQUEST.match(target)):
            method, target = split_request(target)
        if self._all_get and target:
            method = method or "GET"
        if self._whole and _HOST_AND_PATH.match(target):
            target = f"https://{target}"
        elif target and target == values.get("reqpath") and target[0] != "/":  # Akamai's
            target = f"/{target}"
        for name in self._names["request"]:
            value = values.get(name, "")
            if value and not value.startswith("{") and not (method and value in _GONE):  # an object is read as such
                its_method, its_target = split_request(value)
                if not method and target and not its_target:  # the target has a field of its own
                    method = its_method
                    break
                if not method or (its_target and METHOD.fullmatch(its_method)):
                    return its_method, its_target
                if value != method:  # the method has a field of its own, as by Logstash: then this is the target
                    target = value
                break
        query = self._query(values)
        if self._of_json and not query and target.startswith("/") and "?" not in target:
            target = self._with_query(target, values)
        return method, f"{target}?{query}" if target and query and "?" not in target else target

    def _is_gone(self, values: Mapping[str, str]) -> bool:
        """Return whether the target was taken out, or is in an object that is written as text."""
        given = [values.get(name, "") for name in (*self._names["target"], *self._names["request"])]
        return any(value in _GONE or value.startswith("{") for value in given)

    def _with_query(self, target: str, values: Mapping[str, str]) -> str:
        """Return a path with the query that another field has behind the same path; the path alone where none has."""
        for name in self._names["target"]:
            if "?" in (value := values.get(name, "")):
                whole = without_origin(value)
                if whole.partition("?")[0] == target:
                    return whole
        return target

    def _host(self, values: Mapping[str, str], target: str) -> str:
        if (self._whole or self._of_json) and (origin := _ORIGIN.match(target)):
            return as_text(_USUAL_PORT.sub("", origin[1]))
        found = ""
        for name in self._names["host"]:
            value = values.get(name, "")
            if value in _NOTHING or value == "_" or value[0] in _SEVERAL_HOSTS or value.endswith(".*"):
                continue
            if name == "host" and self._is_either and not self._names["forwarded"] and self._host_is_client(values):
                continue
            address = address_in(value)
            if name in _SAYING_LITTLE and not site_in(value):
                continue
            if name == "httphost" or (address is None and "." in value):
                return as_text(_USUAL_PORT.sub("", value))
            # A machine of one word, or its address: the page's where no other field names a host.
            if address is None or name == "host":
                found = found or as_text(_USUAL_PORT.sub("", value))
        if not (found := found or origin_of(target)) and self._of_json:
            origins = (origin_of(values.get(name, "")) for name in self._names["target"])
            found = next(filter(site_in, origins), "")
        return found

    def _without(self, part: str, values: Mapping[str, str]) -> NotUnderstood:
        names = (*self._names[part], *(self._names["target"] if part == "request" else ()))
        given = next((f"{name} is {values[name][:60]!r}" for name in names if values.get(name)), "empty")
        return NotUnderstood(f"no field holds {_IN_WORDS[part]}: {given}", self.found(values))

    def found(self, values: Mapping[str, str]) -> int:
        """Return how many of the needed parts have a value that can be one."""
        has_status = self._status(values) is not None
        has_request = all(self._request(values))
        return (self.time(values) is not None) + (self.client(values) is not None) + has_status + has_request


def _address(text: str, name: str = "") -> str | None:
    """Return the canonical address in a field; also as Java writes it, behind a name or none, and as a net of one.

    That of `address` may be where a server listens: everywhere is none."""
    found = address_in(text)
    if found is None and "/" in text[:_LONGEST_NAME]:
        before, _, behind = text.partition("/")
        found = address_in(before if behind in ("32", "128") else behind)
    return None if name == "address" and found in _EVERYWHERE else found


def _chain(text: str) -> list[str]:
    """Return the clients that a header names: a list, or RFC 7239's `for=192.0.2.7;proto=https`."""
    if text[:2] in _LISTS:
        text = text[1:].rstrip("] ")
    return _FOR.findall(text) or text.split(",")


def _of_trusted(text: str) -> str | None:
    """Return the client of a header that trusted proxies passed on: the parts that count are at its right."""
    parts = _chain(text[-_LONGEST_CHAIN:])[len(text) > _LONGEST_CHAIN :]
    return client_in([address_in(part) for part in parts if part.strip()])


@lru_cache(maxsize=1024)
def fields_of(names: tuple[str, ...], by_ends: bool = False) -> Fields:
    """Return the `Fields` of a line of JSON that has these compact names, see `Fields` for `by_ends`."""
    return Fields(names, of_json=True, by_ends=by_ends)
