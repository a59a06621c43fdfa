"""W3C extended logs: IIS, CloudFront, Netscaler and others, whose `#Fields` line names what each line has.

Times are UTC, a field that has no value is `-`. Where lines have no date, that of the `#Date` line counts. Servers
write blanks in a field as `+` (IIS) or as `%20` (CloudFront), or quote it; CloudFront separates fields by tabs. It also
writes the `%` of an address as `%25`, and all of this in JSON too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from urllib.parse import unquote

from ingest.logs.formats.fields import NAMES, NEEDED, Fields, compact
from ingest.logs.formats.request import NotUnderstood, Request

_DIRECTIVE = re.compile(r"#(Fields|Date)(?::[ \t]*|\t)(.*)", re.IGNORECASE)  # Zeek has a tab instead of the colon
# What IIS's advanced logging and servers of streams call the usual fields.
_ALSO_CALLED = {"dateutc": "date", "timeutc": "time", "cstatus": "scstatus"}
_LOCALLY = {"datelocal": "date", "timelocal": "time"}  # taken for UTC, where a line has no other time
# Possessive: what is taken is never given back, so no line is read twice.
_WORD = re.compile(r'[ \t]*+(?:"([^"]*+(?:""[^"]*+)*+)"|([^ \t"][^ \t]*+))(?![^ \t])')
_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
CLOUDFRONT = ("xedge", "xhostheader")  # how names begin that only its logs have
_OF_W3C = ("csuristem", "csuseragent", "csreferer")
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
        self._keys = _usual([compact(name) for name in names])
        constant = ["date"] if self._date and "date" not in self._keys else []
        self.fields = Fields([*self._keys, *constant], all_get=True)
        self._constant = dict.fromkeys(constant, self._date)
        self.sent = as_sent_under([*self._keys, *constant], self._constant)

    def read(self, line: str) -> Request | NotUnderstood:
        """Parse a line."""
        if not self._keys:
            return NotUnderstood("no #Fields line stands before it")
        if self.fields.missing:
            return NotUnderstood(f"#Fields names no field for the {self.fields.missing[0]}", len(NEEDED))
        words = _between_tabs(line) if line.count("\t") >= len(self._keys) - 1 else _words(line)
        if len(words) != len(self._keys):
            return NotUnderstood(f"it has {len(words)} fields, and #Fields names {len(self._keys)}", len(NEEDED))
        return self.fields.read(self.sent(dict(zip(self._keys, words, strict=True))))

    def pattern(self, sample: str) -> str | None:
        """Return a pattern of lines like `sample`, with a group for each field that is read; None where there is none.

        What a quoted field holds is in the group of its name, and what one without quotes holds in another, of its
        name and `_`. Every line that matches is read so."""
        if not self._keys or self.fields.missing:
            return None
        read = set(self.fields.names(*NAMES))
        last = {key: index for index, key in enumerate(self._keys)}
        groups = [key if key in read and last[key] == index else "" for index, key in enumerate(self._keys)]
        if sample.count("\t") >= len(self._keys) - 1:
            return "^" + "\t".join(f'(?P<{key}>[^\t"]*)' if key else '[^\t"]*' for key in groups) + "$"
        bare, quoted = '[^ \t"][^ \t]*', '"[^"]*"'
        if '"' in sample:
            words = [
                f'(?:"(?P<{key}>[^"]*)"|(?P<{key}_>{bare}))' if key else f"(?:{quoted}|{bare})" for key in groups
            ]
        else:
            words = [f"(?P<{key}>{bare})" if key else bare for key in groups]
        return "^" + " ".join(words) + "$"


def _usual(keys: list[str]) -> list[str]:
    """Return the fields' keys by their usual names, where none has these; of times, those in UTC come first."""
    usual = [key if (name := _ALSO_CALLED.get(key, key)) in keys else name for key in keys]
    return usual if {"date", "time"} & set(usual) else [_LOCALLY.get(key, key) for key in usual]


def as_sent(values: dict[str, str]) -> dict[str, str]:
    """Return the fields of a line, by their compact names, with those of W3C's names as the client sent them."""
    return as_sent_under(values)(values)


def as_sent_under(
    names: Iterable[str], constant: Mapping[str, str] = MappingProxyType({})
) -> Callable[[dict[str, str]], dict[str, str]]:
    """Return what `as_sent` is for lines with these names, and for some of their fields; it adds the constant ones."""
    here = frozenset(names)
    if here.isdisjoint(_OF_W3C):
        return lambda values: {**values, **constant} if constant else values
    targets = _TARGETS if any(name.startswith(CLOUDFRONT) for name in here) else ()

    def sent(values: dict[str, str]) -> dict[str, str]:
        if agent := values.get("csuseragent"):
            values["csuseragent"] = _agent(agent)
        for key in (*_REFERRERS, *targets):
            if key in values:
                values[key] = _ENCODED_TWICE.sub("%", values[key])
        return {**values, **constant} if constant else values

    return sent


def _between_tabs(line: str) -> list[str]:
    """Return the fields of a line that are separated by tabs, those in quotes (Akamai) without them."""
    words = line.split("\t")
    if '"' in line:  # WebLogic adds a blank to some
        bare = (word.strip(" ") for word in words)
        words = [word[1:-1].replace('""', '"') if _QUOTED.fullmatch(word) else word for word in bare]
    return words


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
