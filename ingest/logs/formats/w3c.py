"""W3C extended logs: IIS, CloudFront, Netscaler and others, whose `#Fields` line names what each line has.

Times are UTC, a field that has no value is `-`. Where lines have no date, that of the `#Date` line counts. Servers
write blanks in a field as `+` (IIS) or as `%20` (CloudFront), or quote it; CloudFront separates fields by tabs. It also
writes the `%` of an address as `%25`, and all of this in JSON too.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from ingest.logs.formats.fields import NEEDED, Fields, compact
from ingest.logs.formats.request import NotUnderstood, Request

_DIRECTIVE = re.compile(r"#(Fields|Date):[ \t]*(.*)", re.IGNORECASE)
# Possessive: what is taken is never given back, so no line is read twice.
_WORD = re.compile(r'[ \t]*+(?:"([^"]*+(?:""[^"]*+)*+)"|([^ \t"][^ \t]*+))(?![^ \t])')
_CLOUDFRONT = ("xedge", "xhostheader")  # how names begin that only its logs have
_REFERRERS, _TARGETS = ("csreferer", "csreferrer"), ("csuristem", "csuriquery")
_ENCODED_TWICE = re.compile(r"%25(?=[0-9A-Fa-f]{2})")


def directive(line: str, shape: str) -> str:
    """Return the shape of the lines behind a comment; `shape` is that before it, `w3c` and the names of the fields.

    A date that `#Date` gives stands before the names, as `#2025-06-01`."""
    found = _DIRECTIVE.match(line)
    if found is None:
        return shape
    word, *names = shape.split(" ")
    date = [name for name in names if name.startswith("#")]
    if found[1].lower() == "date":
        return " ".join([word, *[f"#{day}" for day in found[2].split()[:1]], *names[len(date) :]])
    return " ".join([word, *date, *found[2].split()])


class W3c:
    """Reads the lines under one `#Fields`."""

    def __init__(self, shape: str) -> None:
        """`shape` is as `directive` returns it."""
        names = shape.split(" ")[1:]
        self._date = names.pop(0)[1:] if names and names[0].startswith("#") else ""
        self._keys = [compact(name) for name in names]
        constant = ["date"] if self._date and "date" not in self._keys else []
        self._fields = Fields([*self._keys, *constant])
        self._constant = dict.fromkeys(constant, self._date)

    def read(self, line: str) -> Request | NotUnderstood:
        """Parse a line."""
        if not self._keys:
            return NotUnderstood("no #Fields line stands before it")
        if self._fields.missing:
            return NotUnderstood(f"#Fields names no field for the {self._fields.missing[0]}", len(NEEDED))
        words = line.split("\t") if line.count("\t") >= len(self._keys) - 1 else _words(line)
        if len(words) != len(self._keys):
            return NotUnderstood(f"it has {len(words)} fields, and #Fields names {len(self._keys)}", len(NEEDED))
        values = dict(zip(self._keys, words, strict=True)) | self._constant
        return self._fields.read(as_sent(values))


def as_sent(values: dict[str, str]) -> dict[str, str]:
    """Return the fields of a line, by their compact names, with those of W3C's names as the client sent them."""
    if "csuristem" not in values and "csuseragent" not in values and "csreferer" not in values:
        return values
    if agent := values.get("csuseragent"):
        values["csuseragent"] = _agent(agent)
    is_cloudfront = any(name.startswith(_CLOUDFRONT) for name in values)
    for key in (*_REFERRERS, *(_TARGETS if is_cloudfront else ())):
        if key in values:
            values[key] = _ENCODED_TWICE.sub("%", values[key])
    return values


def _words(line: str) -> list[str]:
    """Return the fields of a line, none where a quoted one has no end. Inside quotes, two quotes are one."""
    words: list[str] = []
    position = 0
    while match := _WORD.match(line, position):
        words.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        position = match.end()
    return [] if line[position:].strip(" \t") else words


def _agent(text: str) -> str:
    """Return an agent as it was sent."""
    if " " in text:
        return text
    if "%20" in text or "%25" in text:
        return unquote(_ENCODED_TWICE.sub("%", text), errors="surrogateescape")
    return text.replace("+", " ")
