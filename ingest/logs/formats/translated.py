"""Format strings of programs that have a language of their own, in nginx's: the same fields, and the same between them.

gunicorn's `%(h)s`, uWSGI's `%(addr)`, morgan's `:remote-addr`, HAProxy's `%ci`, Squid's `%>a`, and the variables of
Amazon's gateway (`$context.identity.sourceIp`). And times as Java's programs have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_NAMES = {
    "gunicorn": {
        "h": "$remote_addr", "t": "[$time_local]", "r": "$request", "s": "$status", "m": "$request_method", "U": "$uri",
        "q": "$args", "H": "$server_protocol", "f": "$http_referer", "a": "$http_user_agent",
    },
    "uwsgi": {
        "addr": "$remote_addr", "user": "$remote_user", "ltime": "$time_local", "ctime": "$time_local", "time": "$msec",
        "tmsecs": "$msec", "method": "$request_method", "uri": "$request_uri", "proto": "$server_protocol",
        "status": "$status", "referer": "$http_referer", "uagent": "$http_user_agent", "host": "$http_host",
    },
    "morgan": {
        "remote-addr": "$remote_addr", "remote-user": "$remote_user", "date": "$time_local",
        "method": "$request_method", "url": "$request_uri", "http-version": "$version", "status": "$status",
        "referrer": "$http_referer", "user-agent": "$http_user_agent",
    },
    "haproxy": {
        "ci": "$remote_addr", "cp": "$remote_port", "tr": "$time_local", "t": "$time_local", "T": "$time_local",
        "Tl": "$time_local", "trg": "$time_local", "trl": "$time_local", "Ts": "$msec", "ST": "$status",
        "r": "$request", "HM": "$request_method", "HU": "$request_uri", "HP": "$uri", "HV": "$server_protocol",
    },
    "squid": {
        ">a": "$remote_addr", "un": "$remote_user", "tl": "$time_local", "tg": "$time_local", "ts.%03tu": "$msec",
        "rm": "$request_method", "ru": "$request_uri", ">Hs": "$status", ">s": "$status",
    },
    "gateway": {
        "identity.sourceIp": "$remote_addr", "requestTime": "$time_local", "requestTimeEpoch": "$msec",
        "httpMethod": "$request_method", "path": "$request_uri", "resourcePath": "$request_uri", "status": "$status",
        "protocol": "$server_protocol", "identity.userAgent": "$http_user_agent", "domainName": "$http_host",
    },
}  # fmt: skip


_JAVA = {
    "yyyy": "%Y", "MMM": "%b", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "SSS": "%f", "ZZZ": "%z",
    "XXX": "%z", "Z": "%z",
}  # fmt: skip
_JAVAS = re.compile("|".join(_JAVA))


def of_java(form: str) -> str:
    """Return the notation of a time in strftime's directives, where it is one of Java's, as of Jetty and Tomcat."""
    if "yyyy" not in form:
        return form
    return _JAVAS.sub(lambda found: _JAVA[found[0]], form.partition("|")[0].replace("'", ""))


def _named(language: str, name: str) -> str:
    """Return a field's variable; one of no meaning where the name has none."""
    return _NAMES[language].get(name) or "$" + re.sub(r"\W", "_", f"{language}_{name}")


def _header(name: str) -> str:
    return "$http_" + name.lower().replace("-", "_").replace("referrer", "referer")


def _gunicorn(found: re.Match[str]) -> str:
    return _header(found[1]) if found[1] else _named("gunicorn", found[2])


def _morgan(found: re.Match[str]) -> str:
    if found[1] == "req" and found[2]:
        return _header(found[2])
    return "$time_iso8601" if found[1] == "date" and found[2] == "iso" else _named("morgan", found[1])


def _haproxy(found: re.Match[str]) -> str:
    if found[2] == "o":  # flags of all that follow
        return ""
    field = _named("haproxy", found[2] or "sample")
    return f'"{field}"' if "+Q" in (found[1] or "") else field


def _squid(found: re.Match[str]) -> str:
    return _header(found[1]) if found[1] else _named("squid", found[2])


class _Language(NamedTuple):
    told_by: re.Pattern[str]
    field: re.Pattern[str]
    translated: Callable[[re.Match[str]], str]


_LANGUAGES = (
    _Language(
        re.compile(r"%\((?:[a-zA-Z]|\{[^}]+\}[a-z])\)s"),
        re.compile(r"%\((?:\{([^}]+)\}[a-z]|([a-zA-Z]))\)s"), _gunicorn),
    _Language(re.compile(r"%\((?:addr|ltime|uri)\)"), re.compile(r"%\(([a-z.A-Z_]+)\)"),
              lambda found: _named("uwsgi", found[1])),
    _Language(re.compile(r":remote-addr|:req\["), re.compile(r":([a-z][a-z-]+)(?:\[([^\]]+)\])?"), _morgan),
    _Language(re.compile(r"%ci|%ST\b"), re.compile(r"%(?:\{([^}]*)\})?(?:([A-Za-z]+)|\[[^\]]*\])"), _haproxy),
    _Language(re.compile(r"%>a"), re.compile(r"%(?:\{([^}]+)\}>?h|(ts\.%03tu|[<>]?[A-Za-z]+))"), _squid),
    _Language(re.compile(r"\$context\."), re.compile(r"\$context\.([A-Za-z.]+)"),
              lambda found: _named("gateway", found[1])),
)  # fmt: skip


def translated(given: str) -> str:
    """Return a format string in nginx's language; that of any other program, such as Apache, as it is."""
    for language in _LANGUAGES:
        if language.told_by.search(given):
            return language.field.sub(language.translated, given)
    return given
