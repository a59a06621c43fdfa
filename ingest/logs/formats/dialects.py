"""What the format strings of servers consist of: nginx's `$variables`, Apache's `%directives`, Envoy's `%OPERATORS%`.

`read` takes such a string, as it stands in the server's configuration, into fields and the texts between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ingest.logs.formats.configured import text_of, writes_nothing_as_dash
from ingest.logs.formats.fields import NAMES, compact
from ingest.logs.formats.translated import of_java, of_vcl, translated


class BadLayout(ValueError):
    """A format string that cannot be used: the message says why."""


class Field(NamedTuple):
    """One field of a line."""

    name: str  # as the format string has it
    key: str  # compact, as `fields.NAMES` has it
    blanks: int = 0  # that its values hold
    text: str = ""  # between it and the next field
    has_port: bool = False  # its values are an address, a colon and a port
    form: str = ""  # of a time, as strftime has it
    is_before_version: bool = False  # a blank and the HTTP version follow
    ends_in_dash: bool = False  # its values do, where a request has no query


_Piece = str | Field

_NGINX = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_PARTED = re.compile(r"\$\{?is_args\}?\$\{?(?:args|query_string)\b")
_APACHE = re.compile(r"%[!0-9,<>]*(?:\{([^}]*)\})?(\^[A-Za-z]{1,3}|[A-Za-z]|%)")
_ENVOY = re.compile(r"%([A-Z][A-Z0-9_]{2,})(?:\(([^()]*)\))?(?::[0-9]+)?%")
_LONGEST = 8_000  # characters
_WITH_ARGUMENT = re.compile(r"%[^%{ ]*\{[^{}]*\}[A-Za-z]")
_OF_GOACCESS = re.compile(r"%\^(?![A-Za-z])|%[dx](?![A-Za-z])|~h\{")
_APACHE_NAMES = {
    "h": "remotehost", "a": "remoteaddr", "r": "request", "s": "status", "m": "requestmethod", "U": "uri", "q": "args",
    "v": "servername", "V": "servername", "H": "serverprotocol",
}  # fmt: skip
_HEADERS = {
    "referer": "httpreferer", "useragent": "httpuseragent", "xforwardedfor": "httpxforwardedfor", "host": "httphost",
    "xrealip": "httpxrealip", "cfconnectingip": "httpcfconnectingip", "trueclientip": "httptrueclientip",
    "forwarded": "httpforwarded",
}  # fmt: skip
_OF_ENVIRONMENT = frozenset((*NAMES["client"], *NAMES["forwarded"], *NAMES["host"]))
_OF_ENVOY = {
    "RESPONSE_CODE": "status", "PROTOCOL": "serverprotocol", "DOWNSTREAM_REMOTE_ADDRESS": "remoteaddr",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "remoteaddr", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "addr",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": "addr",
}  # fmt: skip
_ENVOY_HEADERS = {"method": "requestmethod", "path": "requesturi", "xenvoyoriginalpath": "requesturi",
                  "authority": "httphost"}  # fmt: skip
_WITH_PORT = "remoteaddrandport"  # of balancers: no server has such a variable
_PORTS = ("remoteport", "directivep")
_FIRST_STATUS = "directives"  # of a request that the server itself sent elsewhere
_PATHS = ("uri", "documenturi")
_PARTS_OF_TARGETS = ("uri", "args", "isargs", "querystring")  # they follow each other with nothing between them


def read(given: str) -> tuple[str, list[Field]]:
    """Return the text before the first field of a format string, or of a line of a configuration that holds it, and the
    fields, each with the text behind it.

    Raises BadLayout where it is none."""
    if len(given) > _LONGEST:
        raise BadLayout(f"it is longer than {_LONGEST:,} characters")
    text = translated(text_of(given))
    if re.search(r"\$[A-Za-z_{]", text):
        before, fields = _joined(_pieces(_NGINX, text, _nginx_field))
        return before, _with_dashes(fields) if writes_nothing_as_dash(given) else fields
    if _ENVOY.search(text):  # its times are as strftime has them, and `%d` of these is no field of GoAccess
        return _joined(_pieces(_ENVOY, text, _envoy_field))
    if _OF_GOACCESS.search(_WITH_ARGUMENT.sub("", text)):
        raise BadLayout("it is written for GoAccess, and says not what the fields are: give that of the server")
    if "%" in text:
        before, fields = _joined(_pieces(_APACHE, text, _apache_field))
        return before, _with_last_status(fields)
    raise BadLayout("it has neither nginx's $variables nor Apache's %directives; names of formats are for --format")


def _pieces(pattern: re.Pattern[str], text: str, field: Callable[[re.Match[str]], list[_Piece]]) -> Iterator[_Piece]:
    position = 0
    for match in pattern.finditer(text):
        yield text[position : match.start()]
        yield from field(match)
        position = match.end()
    yield text[position:]


def _nginx_field(match: re.Match[str]) -> list[_Piece]:
    name = match[1] or match[2]
    key = compact(f"http{name[6:]}" if name.startswith("header_") else name)  # as Unit calls headers
    if key == _WITH_PORT:
        return [Field(match[0], "remoteaddr", has_port=True)]
    return [Field(match[0], key, 1 if key == "timelocal" else 0)]


def _with_dashes(fields: list[Field]) -> list[Field]:
    """Return the fields, of which targets end in `-` without a query: `$is_args` is nothing then, `$args` is `-`."""
    return [field._replace(ends_in_dash=_PARTED.search(field.name) is not None) for field in fields]


def _apache_field(match: re.Match[str]) -> list[_Piece]:
    argument, directive = match[1] or "", match[2].lstrip("^")
    if directive == "%":
        return ["%"]
    if directive == "t" and not argument:
        return ["[", Field(match[0], "timelocal", 1), "]"]
    if directive == "t":
        return [Field(match[0], "directivet", form=of_java(argument))]
    key = _with_argument(directive, argument) if argument else _APACHE_NAMES.get(directive, f"directive{directive}")
    return [Field(match[0], key)]


def _with_argument(directive: str, argument: str) -> str:
    """Return the key of `%{argument}directive`; one of no meaning where it has none."""
    name = compact(argument)
    if directive == "i":
        return _HEADERS.get(name, f"header{name}")
    if directive in "ah":  # `c` is of the connection: a balancer's, where there is one; Jetty has four of them
        return {"c": "addr", "local": "directivea", "server": "servername"}.get(argument, _APACHE_NAMES[directive])
    if directive == "e" and name in _OF_ENVIRONMENT:
        return name
    if directive == "V":  # Fastly's
        header, key = of_vcl(argument)
        return _HEADERS.get(compact(header), f"header{compact(header)}") if header else key
    return f"directive{directive}"


def _envoy_field(match: re.Match[str]) -> list[_Piece]:
    operator, argument = match[1], match[2] or ""
    if operator == "START_TIME":
        return [Field(match[0], "directivet", form=argument) if argument else Field(match[0], "timeiso8601")]
    if operator in ("REQ", "REQ_WITHOUT_QUERY"):
        header = compact(argument.partition("?")[0])
        return [Field(match[0], _ENVOY_HEADERS.get(header) or _HEADERS.get(header, f"header{header}"))]
    return [Field(match[0], _OF_ENVOY.get(operator, f"directive{operator.lower()}"))]


def _with_last_status(fields: list[Field]) -> list[Field]:
    """Return the fields, of which `%>s` is the status where the request was sent elsewhere in the server."""
    if not any(field.name == "%>s" for field in fields):
        return fields
    is_first = [field.key == "status" and field.name != "%>s" for field in fields]
    return [its._replace(key=_FIRST_STATUS) if first else its for its, first in zip(fields, is_first, strict=True)]


def _joined(pieces: Iterable[_Piece]) -> tuple[str, list[Field]]:
    """Return the text before the first field, and the fields, each with the text behind it.

    Parts of a target are one field, and so are an address and its port."""
    before = ""
    fields: list[Field] = []
    for piece in pieces:
        last = fields[-1] if fields else None
        if isinstance(piece, Field):
            if last and not last.text and last.key in _PATHS and piece.key in _PARTS_OF_TARGETS:
                fields[-1] = last._replace(name=last.name + piece.name)
            elif last and last.text == ":" and last.key in NAMES["client"] and piece.key in _PORTS:
                fields[-1] = last._replace(name=f"{last.name}:{piece.name}", text="", has_port=True)
            else:
                if last and last.text == " " and last.key in NAMES["target"] and piece.key == "serverprotocol":
                    fields[-1] = last._replace(is_before_version=True)
                fields.append(piece)
        elif last:
            fields[-1] = last._replace(text=last.text + piece)
        else:
            before += piece
    return before, fields
