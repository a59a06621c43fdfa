"""What the format strings of servers consist of: nginx's `$variables`, Apache's `%directives`, Envoy's `%OPERATORS%`.

`read` takes such a string, as it stands in the server's configuration, into fields and the texts between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ingest.logs.formats.fields import NAMES, compact
from ingest.logs.formats.translated import of_java, translated


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


_Piece = str | Field

_NGINX = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_APACHE = re.compile(r"%[!0-9,<>]*(?:\{([^}]*)\})?(\^?[A-Za-z]{1,2}|%)")
_ENVOY = re.compile(r"%([A-Z][A-Z0-9_]{2,})(?:\(([^()]*)\))?(?::[0-9]+)?%")
_OF_GOACCESS = re.compile(r"%\^(?![A-Za-z])")
_NGINX_LINE = re.compile(r"log_format\s+\S+\s+(?:escape=\w+\s+)?")
_APACHE_LINE = re.compile(r"(?:LogFormat|CustomLog\s+\S+|accesslog\.format\s*=)\s*", re.IGNORECASE)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
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
_PARTS_OF_TARGETS = ("uri", "args", "isargs")  # they follow each other with nothing between them


def read(given: str) -> tuple[str, list[Field]]:
    """Return the text before the first field of a format string, or of a line of a configuration that holds it, and the
    fields, each with the text behind it.

    Raises BadLayout where it is none."""
    text = translated(_text_of(given.strip()))
    if re.search(r"\$[A-Za-z_{]", text):
        return _joined(_pieces(_NGINX, text, _nginx_field))
    if _OF_GOACCESS.search(text):
        raise BadLayout("it is written for GoAccess, and says not what the fields are: give that of the server")
    if _ENVOY.search(text):
        return _joined(_pieces(_ENVOY, text, _envoy_field))
    if "%" in text:
        return _joined(_pieces(_APACHE, text, _apache_field))
    raise BadLayout("it has neither nginx's $variables nor Apache's %directives; names of formats are for --format")


def _text_of(given: str) -> str:
    """Return the format string of a line of the configuration: its quoted parts together."""
    line = _NGINX_LINE.match(given) or _APACHE_LINE.match(given)
    if line is not None or given[:1] == given[-1:] == "'":
        parts = _QUOTED.finditer(given, line.end() if line else 0)
        given = "".join(part[1] if part[1] is not None else part[2] for part in parts)
    return given.replace('\\"', '"').replace("\\t", "\t").replace("&quot;", '"')  # as Tomcat's XML has it


def _pieces(pattern: re.Pattern[str], text: str, field: Callable[[re.Match[str]], list[_Piece]]) -> Iterator[_Piece]:
    position = 0
    for match in pattern.finditer(text):
        yield text[position : match.start()]
        yield from field(match)
        position = match.end()
    yield text[position:]


def _nginx_field(match: re.Match[str]) -> list[_Piece]:
    key = compact(match[1] or match[2])
    if key == _WITH_PORT:
        return [Field(match[0], "remoteaddr", has_port=True)]
    return [Field(match[0], key, 1 if key == "timelocal" else 0)]


def _apache_field(match: re.Match[str]) -> list[_Piece]:
    argument, directive = match[1] or "", match[2].lstrip("^")
    if directive == "%":
        return ["%"]
    if directive == "t" and not argument:
        return ["[", Field(match[0], "timelocal", 1), "]"]
    if directive == "t":
        return [Field(match[0], "directivet", form=of_java(argument))]
    key = _APACHE_NAMES.get(directive, f"directive{directive}")
    if directive == "i":
        header = compact(argument)
        key = _HEADERS.get(header, f"header{header}")
    elif directive == "a" and argument == "c":  # of the connection: a balancer's, where there is one
        key = "addr"
    elif directive == "e" and compact(argument) in _OF_ENVIRONMENT:
        key = compact(argument)
    return [Field(match[0], key)]


def _envoy_field(match: re.Match[str]) -> list[_Piece]:
    operator, argument = match[1], match[2] or ""
    if operator == "START_TIME":
        return [Field(match[0], "directivet", form=argument) if argument else Field(match[0], "timeiso8601")]
    if operator == "REQ":
        header = compact(argument.partition("?")[0])
        return [Field(match[0], _ENVOY_HEADERS.get(header) or _HEADERS.get(header, f"header{header}"))]
    return [Field(match[0], _OF_ENVOY.get(operator, f"directive{operator.lower()}"))]


def _joined(pieces: Iterable[_Piece]) -> tuple[str, list[Field]]:
    """Return the text before the first field, and the fields, each with the text behind it.

    Parts of a target are one field, and so are an address and its port."""
    before = ""
    fields: list[Field] = []
    for piece in pieces:
        last = fields[-1] if fields else None
        if isinstance(piece, Field):
            if last and not last.text and last.key == "uri" and piece.key in _PARTS_OF_TARGETS:
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
