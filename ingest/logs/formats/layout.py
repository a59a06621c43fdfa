r"""The format strings of nginx (`$remote_addr [$time_local] "$request"…`) and of Apache (`%h %l %u %t "%r"…`).

`layout` reads such a string, as it stands in the server's configuration, into fields and the texts between them. A
line is taken apart by these texts: a field ends where the text behind it begins, in quotes at the first quote without
a backslash. So a line is read once, from its beginning to its end. The balancers whose lines have a fixed order are
layouts too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from activity.geo import canonical_address
from ingest.logs.formats.fields import NAMES, Fields, compact
from ingest.logs.formats.request import NotUnderstood, Request, unescape


class BadLayout(ValueError):
    """A format string that cannot be used: the message says why."""


class _Field(NamedTuple):
    name: str  # as the format string has it
    key: str  # compact, as `fields.NAMES` has it
    blanks: int = 0  # that its values hold
    text: str = ""  # between it and the next field
    has_port: bool = False  # its values are an address, a colon and a port


_NGINX = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_APACHE = re.compile(r"%[!0-9,<>]*(?:\{([^}]*)\})?(\^?[A-Za-z]{1,2}|%)")
_NGINX_LINE = re.compile(r"log_format\s+\S+\s+(?:escape=\w+\s+)?")
_APACHE_LINE = re.compile(r"(?:LogFormat|CustomLog\s+\S+)\s+", re.IGNORECASE)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_APACHE_NAMES = {
    "h": "remotehost", "a": "remoteaddr", "r": "request", "s": "status", "m": "requestmethod", "U": "uri", "q": "args",
    "v": "servername", "V": "servername",
}  # fmt: skip
_HEADERS = {
    "referer": "httpreferer", "useragent": "httpuseragent", "xforwardedfor": "httpxforwardedfor", "host": "httphost",
    "xrealip": "httpxrealip", "cfconnectingip": "httpcfconnectingip", "trueclientip": "httptrueclientip",
}  # fmt: skip
_OPENING = tuple("\"'[({<|")  # behind which a field ends with something else than a blank
_HOLDING_BLANKS = (*NAMES["request"], *NAMES["agent"], "remoteuser", "directiveu")
_HEADERS_HOLDING_BLANKS = ("httpaccept", "httpcookie", "header", "senthttp", "cookie", "directiveo")
_WITH_PORT = "remoteaddrandport"  # of balancers: no server has such a variable
_PARTS_OF_TARGETS = ("uri", "args", "isargs")  # they follow each other with nothing between them


class Layout:
    """One format: reads the lines that were written by it."""

    def __init__(self, before: str, fields: list[_Field], whole: bool = False) -> None:
        """`before` is the text before the first field; `whole`: targets are absolute addresses."""
        self._before = before
        self._parts = fields
        self._open = _open_agent(before, fields)
        self._with_port = [field.key for field in fields if field.has_port]
        self.fields = Fields([field.key for field in fields], whole)

    def read(self, line: str) -> Request | NotUnderstood:
        """Parse a line."""
        if not line.startswith(self._before):
            return NotUnderstood(f"it does not begin with {self._before!r}")
        values: dict[str, str] = {}
        start = len(self._before)
        last = len(self._parts) - 1
        before = self._before
        for index, field in enumerate(self._parts):
            key, text = field.key, field.text
            if index == self._open:
                end = self._end_from_behind(line, start)
            else:
                end = _end(line, start, field, before) if text or index < last else len(line)
            if end < 0:
                return NotUnderstood(f"{field.name} has no end: no {text!r} follows", self.fields.found(values))
            if values.get(key, "-") in ("", "-"):
                values[key] = unescape(line[start:end])
            start, before = end + len(text), text
        return self.fields.read(self.sent(values))

    def sent(self, values: dict[str, str]) -> dict[str, str]:
        """Return some fields of a line with addresses that have no port."""
        for name in self._with_port:
            if name in values:
                values[name] = _without_port(values[name])
        return values

    def pattern(self, sample: str) -> str | None:  # noqa: ARG002 - all lines are alike
        """Return a pattern of lines without a backslash, with a group for each field that is read.

        Every line that matches is read so. None where a field's end depends on more than the text behind it."""
        read = set(self.fields.names(*NAMES))
        keys = [field.key for field in self._parts if field.key in read]
        if self._open >= 0 or len(keys) != len(set(keys)):
            return None
        found = "^" + _literally(self._before)
        for index, field in enumerate(self._parts):
            value = _value_pattern(field, is_last=index == len(self._parts) - 1)
            if value is None:
                return None
            found += (f"(?P<{field.key}>{value})" if field.key in read else f"(?:{value})") + _literally(field.text)
        return found

    def _end_from_behind(self, line: str, start: int) -> int:
        """Return where the agent that begins at `start` ends, by the texts behind it, the last first; -1 if nowhere."""
        end = len(line)
        for field in reversed(self._parts[self._open :]):
            if field.text:
                end = line.rfind(field.text, start, end)
                while field.text.isspace() and end > start and line[end - 1] == ",":  # a chain of addresses, of times
                    end = line.rfind(field.text, start, end)
            if end < 0:
                break
        return end


def _literally(text: str) -> str:
    """Return a pattern of this text, which all engines read alike."""
    return "".join(char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):X}}}" for char in text)


def _value_pattern(field: _Field, is_last: bool) -> str | None:
    """Return a pattern of values that end where the text behind them begins; None where that is not all to know."""
    if not field.text:
        return r"[^\\]*$" if is_last else None
    if not field.text.startswith(" "):
        return rf"[^\\{_literally(field.text[0])}]*"
    if field.key == "request" or (field.blanks and field.text != " "):
        return None
    word = r"[^ ,\\]*(?:,+[^ ,\\]+)*"  # a comma at the end: the value goes on
    return word if not field.blanks else r"[^ \\-][^ \\]*" + r" [^ \\]*" * (field.blanks - 1) + " " + word


def _open_agent(before: str, fields: list[_Field]) -> int:
    """Return the index of an agent that only a blank ends, as stand in agents too; -1 where there is none.

    Raises BadLayout where a field behind it may hold blanks as well."""
    texts = [before, *(field.text for field in fields)]
    bare = [index for index, text in enumerate(texts[1:]) if not text.strip(" ") and texts[index][-1:] not in _OPENING]
    agent = next((index for index in bare if fields[index].key in NAMES["agent"] and fields[index].text), -1)
    for index in bare if agent >= 0 else ():
        name, key, blanks, *_ = fields[index]
        if index > agent and (blanks or key in _HOLDING_BLANKS or key.startswith(_HEADERS_HOLDING_BLANKS)):
            raise BadLayout(f"where {fields[agent].name} ends cannot be told: blanks stand in it, and in {name} too")
    return agent


def _end(line: str, start: int, field: _Field, before: str) -> int:
    """Return where the field that begins at `start` ends; -1 where it does not."""
    text = field.text or "/"
    end = line.find(text, start)
    if before.endswith('"') and text.startswith('"'):
        while end > 0 and _is_escaped(line, start, end):
            end = line.find(text, end + 1)
    elif text.startswith(" "):
        for _ in range(field.blanks if line[start : start + 1] != "-" else 0):
            end = line.find(text, end + 1) if end >= 0 else -1
        if field.key == "request" and (version := line.find(" HTTP/", start)) >= 0:
            end = line.find(text, version + 1)
        while end > start and line[end - 1] == ",":  # a chain of addresses
            end = line.find(text, end + 1)
    return end


def _is_escaped(line: str, start: int, end: int) -> bool:
    backslashes = 0
    while end - backslashes > start and line[end - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def layout(given: str) -> Layout:
    """Read a format string, or the whole line of the configuration that holds it.

    Raises BadLayout where it is none, where two fields have nothing between them, or where it has no time, client,
    status or request."""
    text = _text_of(given.strip())
    if re.search(r"\$[A-Za-z_{]", text):
        pieces = _pieces(_NGINX, text, _nginx_field)
    elif "%" in text:
        pieces = _pieces(_APACHE, text, _apache_field)
    else:
        raise BadLayout("it has neither nginx's $variables nor Apache's %directives")
    before, fields = _joined(pieces)
    for field, following in pairwise(fields):
        if not field.text and following.key not in ("requesturi", "uri"):
            raise BadLayout(f"nothing separates {field.name} from {following.name}")
    made = Layout(before, fields)
    if made.fields.missing:
        raise BadLayout(f"it has no {made.fields.missing[0]}{_HINTS[made.fields.missing[0]]}")
    return made


def builtin(given: str, whole: bool = False) -> Layout:
    """Read a format string of ours; `whole`: targets are absolute addresses, and name the page's host."""
    return Layout(*_joined(_pieces(_NGINX, given, _nginx_field)), whole=whole)


_HINTS = {
    "time": ": add $time_local or %t",
    "client": "'s address: add $remote_addr or %h",
    "status": ": add $status or %>s",
    "request": ': add "$request" or "%r"',
}
_Piece = str | _Field


def _text_of(given: str) -> str:
    """Return the format string of a line of the configuration: its quoted parts together."""
    line = _NGINX_LINE.match(given) or _APACHE_LINE.match(given)
    if line is not None or given[:1] == given[-1:] == "'":
        parts = _QUOTED.finditer(given, line.end() if line else 0)
        given = "".join(part[1] if part[1] is not None else part[2] for part in parts)
    return given.replace('\\"', '"').replace("\\t", "\t")


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
        return [_Field(match[0], "remoteaddr", has_port=True)]
    return [_Field(match[0], key, 1 if key == "timelocal" else 0)]


def _without_port(text: str) -> str:
    """Return the address of a text such as `2001:db8::1:51000`, whose last part is always a port."""
    address, _, port = text.rpartition(":")
    is_bare = ":" in address and "[" not in text and "." not in port
    return address if is_bare and canonical_address(address) is not None else text


def _apache_field(match: re.Match[str]) -> list[_Piece]:
    argument, directive = match[1], match[2].lstrip("^")
    if directive == "%":
        return ["%"]
    if directive == "t" and not argument:
        return ["[", _Field(match[0], "timelocal", 1), "]"]
    if directive == "t":
        return [_Field(match[0], *_strftime(argument.removeprefix("begin:").removeprefix("end:")))]
    if directive == "i":
        header = compact(argument or "")
        return [_Field(match[0], _HEADERS.get(header, f"header{header}"))]
    return [_Field(match[0], _APACHE_NAMES.get(directive, f"directive{directive}"))]


def _strftime(form: str) -> tuple[str, int]:
    """Return the key of a time in this notation of strftime, and the blanks in it."""
    if form in ("sec", "msec", "usec"):
        return "msec", 0
    if form in ("msec_frac", "usec_frac"):
        return "fraction", 0
    has_day, has_hour = ("%d" in form or "%F" in form or "%D" in form), ("%H" in form or "%T" in form)
    key = "timelocal" if has_day and has_hour else "date" if has_day else "time" if has_hour else "directivet"
    return key, form.count(" ")


def _joined(pieces: Iterable[_Piece]) -> tuple[str, list[_Field]]:
    """Return the text before the first field, and the fields, each with the text behind it."""
    before = ""
    fields: list[_Field] = []
    for piece in pieces:
        if isinstance(piece, _Field):
            joined = fields and not fields[-1].text and fields[-1].key == "uri" and piece.key in _PARTS_OF_TARGETS
            if joined:
                fields[-1] = fields[-1]._replace(name=fields[-1].name + piece.name)
            else:
                fields.append(piece)
        elif fields:
            fields[-1] = fields[-1]._replace(text=fields[-1].text + piece)
        else:
            before += piece
    return before, fields
