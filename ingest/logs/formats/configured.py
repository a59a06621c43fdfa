r"""The format string in a line of a server's configuration, however that line quotes it.

`log_format main '…' '…';` of nginx, `LogFormat "…" name` and `CustomLog FILE "…"` of Apache, `<Valve pattern="…"/>` of
Tomcat, `log-format …` of HAProxy, `logformat NAME …` of Squid, and whatever names it so elsewhere:
`access_log_format = "…"`, `--access-logformat '…'`, `jetty.requestlog.formatString=…`. A line that is commented out
counts, too; comments in the directive of nginx, and what stands behind it, are no part of the string.
"""

from __future__ import annotations

import re
from html import unescape
from itertools import takewhile

_STRING = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\""""
_QUOTED = re.compile(_STRING, re.DOTALL)
_NEXT_LINE = r"\\\r?\n"  # a backslash at a line's end
# What stands in a line of nginx: a comment, the end of the directive, a part of it.
_PART = re.compile(rf"#[^\n]*+|;|{_STRING}|(?:[^\s;'\"\\]|(?!{_NEXT_LINE})\\)++", re.DOTALL)
_COMMENTED = re.compile(r"^[ \t]*#+[ \t]*", re.MULTILINE)
_NGINX = re.compile(r"log_format\s+\S+\s+(?:escape=(\w+)\s+)?")
_VALVE = re.compile(r"<Valve\s.*?\spattern\s*=\s*", re.DOTALL)
_TO_FILE = re.compile(rf"(?:CustomLog|GlobalLog)\s+(?:{_STRING}|\S+)\s+", re.IGNORECASE | re.DOTALL)
_SQUID = re.compile(r"logformat\s+\w+\s+(?=[^'\"=\s])")
_NAMED = re.compile(
    r"(?:-F(?=[\s'\"])|log:|[\"']?(?P<name>[\w.-]*(?:format-?string|format|pattern))[\"']?(?=[\s=:])(?:\s*+[=:])?+)"
    r"\s*+(?=[^=:])", re.IGNORECASE
)  # fmt: skip
_OF_A_LOG = re.compile("log|access[.]")  # in the names of formats that need no quotes
# Above the line of the configuration.
_REMARKS = re.compile(r"(?:#(?![ \t]*log_?format\b)[^\n$%]*+\n\s*+)++(?=[^#\s])", re.IGNORECASE)
# Behind a string, where the line of the configuration ends.
_END = rf"(?:\s|{_NEXT_LINE}|#[^\n]*+(?:\n|$))*+(?:$|;\s*+(?:$|[#}}]|[a-z_]++\s))"
_ALONE = re.compile(rf"(?:(?:{_STRING})(?:\s|{_NEXT_LINE}|#[^\n]*+(?:\n|$))*+)++{_END}", re.DOTALL)
_WITH_NAME = re.compile(rf'"(?:[^"\\]|\\.)*+"(?:\s+[\w-]++)?{_END}', re.DOTALL)
_TYPOGRAPHIC = str.maketrans("\u201c\u201d\u201e\u2018\u2019", "\"\"\"''")  # quotes, as pages and mails have them
_ENDS = ("\\r", "\\n", "%n")  # of a line, as they stand in some strings


def text_of(given: str) -> str:
    """Return the format string of a line of the configuration, or of the string alone, without what quotes it."""
    text = _escaped(_string_in(_uncommented(given)))
    while text.endswith(_ENDS):
        text = text[:-2]
    return text


def writes_nothing_as_dash(given: str) -> bool:
    """Return whether nginx writes `-` for a variable without a value, as it does unless `escape=` says otherwise."""
    line = _NGINX.match(_uncommented(given))
    return line is None or line[1] in (None, "default")


def _uncommented(given: str) -> str:
    text = given.strip().translate(_TYPOGRAPHIC)
    if remarks := _REMARKS.match(text):
        text = text[remarks.end() :]
    return _COMMENTED.sub("", text) if text.startswith("#") else text


def _string_in(text: str) -> str:
    if line := _NGINX.match(text):
        return _directive(text[line.end() :])
    if line := _VALVE.match(text) or _TO_FILE.match(text):
        return _first(text[line.end() :])
    if line := _SQUID.match(text):
        return text[line.end() :]
    if (line := _NAMED.match(text)) and _is_name(line):
        return _first(text[line.end() :])
    if text.startswith("'") and _ALONE.match(text):
        return _directive(text)
    return _first(text) if _WITH_NAME.match(text) else text


def _directive(text: str) -> str:
    """Return the parts of a directive of nginx in one, up to its end and without comments."""
    parts = takewhile(lambda part: part != ";", _PART.findall(text))
    return "".join(_inside(part) for part in parts if not part.startswith("#"))


def _first(text: str) -> str:
    """Return the string that a text begins with; all of it where it begins with none."""
    found = _QUOTED.match(text)
    return _inside(found[0]) if found else text


def _is_name(line: re.Match[str]) -> bool:
    """Return whether a line begins with the name of its format, or with a word that is a part of each line.

    It is one where fields follow the string behind it, and where no string does, but for the names of servers."""
    text, name = line.string, line["name"]
    string = _QUOTED.match(text, line.end())
    if string is not None:
        return {"$", "%"}.isdisjoint(text[string.end() :])
    return name is None or _OF_A_LOG.search(name.lower()) is not None


def _inside(word: str) -> str:
    return word[1:-1] if word[0] in "'\"" else word


def _escaped(text: str) -> str:
    text = re.sub(_NEXT_LINE, "", text).replace('\\"', '"').replace("\\'", "'").replace("\\t", "\t").replace("\\ ", " ")
    return unescape(text) if "&quot;" in text else text  # as XML has it
