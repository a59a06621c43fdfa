"""Programs whose lines have a form of their own: a pattern each, or the format string that they write by default."""

from __future__ import annotations

import re
from functools import lru_cache

from ingest.logs.client import without_head
from ingest.logs.formats.fields import Fields
from ingest.logs.formats.request import NotUnderstood, Request, unescape

# A group is named as `fields.NAMES` has its field. All engines read these alike, and none reads a line twice.
PATTERNS = {
    "squid": (
        r"^(?P<msec>[0-9]{9,11}\.[0-9]{3}) +-?[0-9]+ (?P<remoteaddr>[^ ]+) (?P<status>[A-Z_]+/[0-9]{3}) -?[0-9]+ "
        r"(?P<requestmethod>[^ ]+) (?P<requesturi>[^ ]+) [^ ]+ [^ ]+/[^ ]+ [^ ]+"
    ),
    "uwsgi": (
        r"^\[pid: [0-9]+\|app: [^|]*\|req: [^\]]*\] (?P<remoteaddr>[^(]*) \([^)]*\) \{[^}]*\} "
        r"\[(?P<timelocal>[^\]]+)\] (?P<requestmethod>[^ ]+) (?P<requesturi>[^ ]*) "
        r"=> generated [0-9]+ bytes in [0-9]+ [a-z]+(?: via [a-z]+\(\))? \([^ )]+ (?P<status>[0-9]{3})\)"
    ),
    "gin": (
        r"^\[GIN\] (?P<date>[0-9/]{10}) - (?P<time>[0-9:]{8}) \| *(?P<status>[0-9]{3}) \|[^|]*\| *"
        r"(?P<remoteaddr>[^ |]+) *\| *(?P<requestmethod>[A-Z]+) +"
        r'(?:"(?P<requesturi>(?:[^"\\]|\\.)*)"|(?P<uri>[^ "][^"]*)$)'  # of old, without quotes
    ),
    "chi": (
        r"^(?P<date>[0-9/]{10}) (?P<time>[0-9:]{8}) (?:\[[^\]]*\] )?"
        r'"(?P<request>[^"]*)" from (?P<remoteaddr>[^ ]+) - (?P<status>[0-9]{3}) '
    ),
    "bunny": (
        r"^[A-Z-]+\|(?P<status>[0-9]{3})\|(?P<msec>[0-9]{13})\|[0-9]+\|[0-9]+\|(?P<remoteaddr>[^|]+)\|"
        r"(?P<httpreferer>[^|]*)\|(?P<url>[^|]*)\|[^|]*\|(?P<httpuseragent>.*)\|[^|]*\|[^|]*$"
    ),
    "gorouter": (
        r'^(?P<httphost>[^ ]+) - \[(?P<timelocal>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>[0-9]{3}) [0-9]+ [0-9]+ '
        r'"(?P<httpreferer>[^"]*)" "(?P<httpuseragent>(?:[^"\\]|\\.)*)" "(?P<addr>[^"]*)" "[^"]*" '
        r'x_forwarded_for:"(?P<httpxforwardedfor>[^"]*)"'
    ),
    "iis-native": (
        r"^(?P<remoteaddr>[^,]+), [^,]*, (?P<date>[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}(?:[0-9]{2})?), "
        r"(?P<time>[0-9]{1,2}:[0-9]{2}:[0-9]{2}), [^,]*, [^,]*, [^,]*, [0-9]+, [0-9]+, [0-9]+, (?P<status>[0-9]{3}), "
        r"[0-9]+, (?P<requestmethod>[^,]+), (?P<uri>[^,]*), (?P<args>[^,]*)"
    ),
}
# Of Envoy and Istio, and of Nginx Proxy Manager for its hosts and for what is none of them.
STRINGS = {
    "envoy": (
        '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
        "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
        '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
    ),
    "istio": (
        '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
        "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
        '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
        '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
        '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% '
        "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"
    ),
    "proxy manager": (
        '[$time_local] $cache $upstream_status $status - $request_method $scheme $host "$request_uri" '
        '[Client $remote_addr] [Length $bytes] [Gzip $ratio] [Sent-to $server] "$http_user_agent" "$http_referer"'
    ),
    "proxy manager without host": (
        '[$time_local] $status - $request_method $scheme $host "$request_uri" '
        '[Client $remote_addr] [Length $bytes] [Gzip $ratio] "$http_user_agent" "$http_referer"'
    ),
}
_AMERICAN = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/(?:20)?([0-9]{2})")


class Program:
    """Reads the lines of one program by its pattern."""

    def __init__(self, name: str) -> None:
        """`name` is one of `PATTERNS`."""
        self._name = name
        self._pattern = re.compile(PATTERNS[name])
        self.fields = Fields(self._pattern.groupindex, of_json="requestmethod" not in self._pattern.groupindex)

    def read(self, line: str) -> Request | NotUnderstood:
        """Parse a line, or what stands on it behind a collector's head."""
        for body in (line, *without_head(line)):
            if found := self._pattern.match(body):
                return self.fields.read(self.sent(found.groupdict("")))
        return NotUnderstood(f"it has not the form of {self._name}")

    def pattern(self, sample: str) -> str:  # noqa: ARG002 - all lines are alike
        """Return a pattern of lines, with a group for each field that is read; every line that matches is read so."""
        return PATTERNS[self._name]

    def sent(self, values: dict[str, str]) -> dict[str, str]:
        """Return some fields of a line with a date such as 6/1/25, month first, as ISO 8601 has it.

        And with the address that Gin quoted as it was asked for."""
        if self._name == "gin":
            values["requesturi"] = unescape(values.get("requesturi", ""))
        date = _AMERICAN.fullmatch(values.get("date", ""))
        if date is not None:
            month, day, year = date.groups()
            values["date"] = f"20{year}-{month:0>2}-{day:0>2}"
            values["time"] = f"{values.get('time', ''):0>8}"
        return values


@lru_cache(maxsize=8)
def program(name: str) -> Program:
    """Return what reads the lines of this one of `PATTERNS`."""
    return Program(name)
