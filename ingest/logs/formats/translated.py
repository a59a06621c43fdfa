"""Format strings of programs that have a language of their own, in nginx's: the same fields, and the same between them.

gunicorn's `%(h)s`, uWSGI's `%(addr)`, morgan's `:remote-addr`, HAProxy's `%ci`, Squid's `%>a`, AWStats' `%methodurl`,
and the variables of Amazon's gateway (`$context.identity.sourceIp`). Undertow's `%{i,Referer}` and Logback's
`%i{Referer}` become Apache's `%{Referer}i`. And times as Java's programs have them.
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
        "HPO": "$uri", "HQ": "$args", "Ts.%ms": "$msec", "hr": "$captured", "hrl": "$captured",
    },
    "sample": {
        "src": "$remote_addr", "src_port": "$remote_port", "method": "$request_method", "path": "$uri",
        "pathq": "$request_uri", "url": "$request_uri", "query": "$args", "status": "$status",
        "capture.req.method": "$request_method", "capture.req.uri": "$request_uri",
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
    "awstats": {
        "host": "$remote_addr", "host_proxy": "$http_x_forwarded_for", "logname": "$remote_user",
        "lognamequot": '"$remote_user"', "time1": "[$time_local]", "time1b": "[$time_local]", "time2": "$time_local",
        "time4": "$msec", "time5": "$time_iso8601", "methodurl": '"$request"', "methodurlnoprot": '"$request"',
        "method": "$request_method", "protocol": "$server_protocol", "url": "$request_uri", "urlquery": "$args",
        "query": "$args", "code": "$status", "refererquot": '"$http_referer"', "referer": "$http_referer",
        "uaquot": '"$http_user_agent"', "ua": "$cs_user_agent", "uabracket": "[$http_user_agent]",
        "virtualname": "$host", "virtualnamequot": '"$host"', "otherquot": '"$awstats_other"',
        "extraquot": '"$awstats_extra"',
    },
    "undertow": {
        "REMOTE_IP": "%a", "REMOTE_HOST": "%h", "REMOTE_USER": "%u", "REQUEST_LINE": "%r", "METHOD": "%m",
        "REQUEST_METHOD": "%m", "REQUEST_URL": "%U", "QUERY_STRING": "%q", "RESPONSE_CODE": "%s", "DATE_TIME": "%t",
        "LOCAL_SERVER_NAME": "%v", "PROTOCOL": "%H", "i": "i", "o": "o", "c": "C", "time": "t",
    },
    "logback": {
        "requestURL": "%r", "requestURI": "%U", "requestMethod": "%m", "queryString": "%q", "protocol": "%H",
        "statusCode": "%s", "user": "%u", "remoteIP": "%a", "remoteHost": "%h", "clientHost": "%h", "i": "i",
        "header": "i", "reqHeader": "i", "requestHeader": "i", "o": "o", "date": "t", "t": "t",
    },
    "vcl": {
        "client.ip": "remoteaddr", "now": "timelocal", "req.url": "requesturi", "req.request": "requestmethod",
        "req.method": "requestmethod", "req.proto": "serverprotocol", "resp.status": "status",
    },
}  # fmt: skip


_JAVA = {
    "yyyy": "%Y", "MMM": "%b", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "SSS": "%f", "ZZZ": "%z",
    "XXX": "%z", "Z": "%z",
}  # fmt: skip
_JAVAS = re.compile("|".join(_JAVA))
_CLF = "%d/%b/%Y:%H:%M:%S %z"  # a time, as Logback has it by default
_ZONE = re.compile(r",[ ]*(?:UTC|GMT|[A-Z][A-Za-z]+/).*$")  # behind a notation, as Logback names one
_SAMPLED = re.compile(r"(?:capture\.)?(?:req|request)\.f?hdr\(['\"]?([A-Za-z][\w-]*)|var\(\w+\.([\w-]+)\)")
# Of HAProxy's, those that `%{+Q}o` before them puts in quotes.
_TEXTS = (
    "r", "ft", "f", "b", "s", "hr", "hs", "CC", "CS", "HM", "HU", "HP", "HPO", "HQ", "HV", "ID", "tsc", "sslc", "sslv"
)  # fmt: skip
_CALL = re.compile(r"[\w.]+\(")  # json.escape(req.url)


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
    flags, name, sample = found[1] or "", found[2], found[3] or ""
    if name is None and not sample:  # flags of all that follow
        return ""
    if sample:
        header = _SAMPLED.match(sample)
        its_header = header and (header[1] or header[2])
        field = _header(its_header) if its_header else _NAMES["sample"].get(sample, "$haproxy_sample")
        field = "$captured" if sample.startswith("capture.req.hdr") and not its_header else field
    else:
        field = _named("haproxy", name)
    is_quoted = "+Q" in flags or (
        "-Q" not in flags and name in _TEXTS and "{+Q}o" in found.string[: found.start()]
    )
    return f'"{field}"' if is_quoted else field


def _undertow(found: re.Match[str]) -> str:
    kind, argument = found[1], found[2]
    known = _NAMES["undertow"].get(kind)
    if argument is None:
        return known or "%{-}n"
    return f"%{{{argument}}}{known or 'n'}"


def _logback(found: re.Match[str]) -> str:
    kind, argument = found[1], found[2]
    known = _NAMES["logback"].get(kind)
    if known == "t":
        return f"%{{{_ZONE.sub('', argument) if argument else _CLF}}}t"
    if argument is not None:
        return f"%{{{argument}}}{known or 'n'}"
    return known or (found[0] if len(kind) == 1 else "%{-}n")


def _squid(found: re.Match[str]) -> str:
    return _header(found[1]) if found[1] and found[2] == ">h" else _named("squid", found[2])


def of_vcl(expression: str) -> tuple[str, str]:
    """Return the header that an expression of Fastly's is, and "", or "" and the key of its field."""
    name = _CALL.sub("", expression).rstrip(")").strip().lower()
    header = name.removeprefix("req.http.") if name.startswith("req.http.") else ""
    return header, "" if header else _NAMES["vcl"].get(name, "directivev")


# A field, or `%{flags}o`, or an expression in brackets.
_OF_HAPROXY = re.compile(
    r"%(?:\{([^}]*)\})?(?:o ?(?![A-Za-z])|(Ts\.%ms|[A-Za-z]+)|\[((?:[^\]'\"]|'[^']*'|\"[^\"]*\")*)\])"
)


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
    _Language(re.compile(r"%(?:\{[-+Q,]+\})?ci|%ST\b"), _OF_HAPROXY, _haproxy),
    _Language(re.compile(r"%\[?>a"),
              re.compile(r"%[\"\[#'/]?-?[0-9]*(?:\{([^}]+)\})?(ts\.%03tu|[<>]?[A-Za-z]+)"), _squid),
    _Language(re.compile(r"%(?:methodurl|time[1-6]b?|refererquot|uaquot|logname|bytesd)"),
              re.compile(r"%([a-z_]+[0-9]?b?)"), lambda found: _named("awstats", found[1])),
    _Language(re.compile(r"%\{(?:[iocqrs]|time),|%\{(?:REQUEST|REMOTE|RESPONSE)_"),
              re.compile(r"%\{([A-Za-z_]+)(?:,([^}]*))?\}(?![A-Za-z])"), _undertow),
    _Language(re.compile(r"%[iot]\{|%(?:requestUR[LI]|statusCode|remoteIP|clientHost|header\{)"),
              re.compile(r"%([A-Za-z]+)(?:\{([^}]*)\})?"), _logback),
    _Language(re.compile(r"\$context\."), re.compile(r"\$context\.([A-Za-z.]+)"),
              lambda found: _named("gateway", found[1])),
)  # fmt: skip


def translated(given: str) -> str:
    """Return a format string in nginx's language; that of any other program, such as Apache, as it is."""
    for language in _LANGUAGES:
        if language.told_by.search(given):
            return language.field.sub(language.translated, given)
    return given
