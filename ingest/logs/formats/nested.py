"""Names of JSON's fields that say what they are by their end: those inside other objects, and with words before them.

Programs and platforms put the same few words behind words of their own: `jsonPayload.remote_addr`,
`attributes.http.user_agent`, `Properties.RequestMethod`. They count for a part of a request where no field has one of
the names that are known as a whole. What a balancer asked a server behind it, or was answered, is another request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# By the part, in the order in which they are looked for.
_ENDINGS: dict[str, tuple[str, ...]] = {
    "client": (
        "clientrealip", "clientip", "clientaddress", "clientaddr", "remoteip", "remoteipaddress", "remoteaddr",
        "remoteaddress", "sourceip", "srcip", "cliip", "remotehost", "socketaddressaddress",
        "requestip",
    ),
    "request": ("requestline", "requestfirstline"),
    "method": ("requestmethod", "httpmethod", "requestverb", "accessmethod"),
    "target": (
        "requesturi", "requesturl", "requestpath", "urloriginal", "urlfull", "urlpath", "httptarget", "httpurl",
        "httppath", "uripath", "accessurl",
    ),
    "query": ("urlquery", "querystring", "requestquery"),
    "status": ("statuscode", "httpstatus", "responsestatus", "responsecode", "downstreamstatus"),
    "referrer": ("referer", "referrer", "httprefer", "referrerheader"),
    "agent": ("useragent", "useragentoriginal", "useragentheader", "accessagent"),
    "host": ("originalhost", "requesthost", "httphost", "headershost", "headerhost", "authority", "urldomain",
             "serveraddress"),
    "forwarded": (
        "xforwardedfor", "xoriginalforwardedfor", "cfconnectingip", "trueclientip", "fastlyclientip", "xrealip",
        "headersforwarded", "headerforwarded",
    ),
}  # fmt: skip
_ALL = tuple(ending for endings in _ENDINGS.values() for ending in endings)
_TIMES = ("timelocal", "timeiso8601", "startutc")  # a server's own, whatever the collector of its log says
OF_ANOTHER = re.compile(r"upstream|backend|origin(?!al)|service|proxied|destination")


def ending_so(part: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return which of these compact names end as one for this part of a request does, the first to be looked at
    first."""
    found = [name for name in sorted(names) if not OF_ANOTHER.search(name)]
    if part != "referrer":  # the parts of its address are none of the page's
        found = [name for name in found if "refer" not in name]
    return tuple(
        dict.fromkeys(name for ending in _ENDINGS.get(part, ()) for name in found if name.endswith(ending))
    )


def own_times(names: Iterable[str]) -> tuple[str, ...]:
    """Return which of these names end as a server's own time."""
    return tuple(name for name in sorted(names) if name.endswith(_TIMES) and name not in _TIMES)


def may_be_read(name: str) -> bool:
    """Return whether a compact name may be one that `ending_so` or `own_times` return."""
    return name.endswith(_ALL) or name.endswith(_TIMES)
