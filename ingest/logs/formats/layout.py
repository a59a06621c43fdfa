r"""The format strings of nginx (`$remote_addr [$time_local] "$request"…`), Apache (`%h %l %u %t "%r"…`) and Envoy.

`layout` reads such a string, as it stands in the server's configuration. A line is taken apart by the texts between its
fields: a field ends where the text behind it begins, in quotes at the first quote without a backslash. So a line is
read once, from its beginning to its end. What a collector put before a line is no part of it. The balancers whose lines
have a fixed order are layouts too.
"""

from __future__ import annotations

from itertools import pairwise

from activity.geo import canonical_address
from ingest.logs.client import without_head
from ingest.logs.formats import clock, dialects
from ingest.logs.formats.captured import with_captures
from ingest.logs.formats.dialects import BadLayout, Field
from ingest.logs.formats.fields import NAMES, Fields
from ingest.logs.formats.request import NotUnderstood, Request, unescape
from ingest.logs.formats.w3c import as_sent_under

_OPENING = tuple("\"'[({<|")  # behind which a field ends with something else than a blank
_HOLDING_BLANKS = (*NAMES["request"], *NAMES["agent"], "remoteuser", "directiveu")
_HEADERS_HOLDING_BLANKS = ("httpaccept", "httpcookie", "header", "senthttp", "cookie", "directiveo")
PAIRS_BEHIND = r'(?:[^"\\]*"[^"\\]*")*[^"\\]*$'  # a pattern of texts with an even number of quotes
_ELSEWHERE = " : "  # between the servers of two groups that a request was passed to
_CAPTURED = "captured"  # headers, of which only the form tells what they are
_IN_BRACES = (_CAPTURED, "haproxyhs")
_HINTS = {
    "time": ": add $time_local or %t",
    "client": "'s address: add $remote_addr or %h",
    "status": ": add $status or %>s",
    "request": ': add "$request" or "%r"',
}


class Layout:
    """One format: reads the lines that were written by it."""

    def __init__(self, before: str, fields: list[Field], whole: bool = False) -> None:
        """`before` is the text before the first field; `whole`: targets are absolute addresses.

        Raises BadLayout where the time, or the end of the agent, cannot be told."""
        fields, self._clock = clock.with_times(_numbered(fields))
        keys = [field.key for field in fields]
        self._before = before
        self._parts = fields
        self._open = _open_agent(before, fields)
        self._quoted, self._quotes_behind = _quoted_agent(before, fields)
        self._captured = [key for key in keys if key.startswith(_CAPTURED)]
        self._with_query = [field.key for field in fields if field.ends_in_dash]
        self._with_port = [field.key for field in fields if field.has_port]
        self._decoded = as_sent_under(keys)
        self.fields = Fields([*keys, clock.KEY] if self._clock else keys, whole)

    def read(self, line: str) -> Request | NotUnderstood:
        """Parse a line, or what stands on it behind a collector's head."""
        return self.read_body(line)[1]

    def read_body(self, line: str) -> tuple[str, Request | NotUnderstood]:
        """Parse a line; return what of it was read, without a collector's head, and what it is."""
        if line[:1] == line[-1:] == '"' and not self._before.startswith('"'):  # OpenLiteSpeed quotes the whole line
            whole = self._read(line[1:-1])
            if isinstance(whole, Request):
                return line[1:-1], whole
        found = self._read(line)
        if isinstance(found, NotUnderstood):
            for body in without_head(line):
                its = self._read(body)
                if isinstance(its, Request):
                    return body, its
        return line, found

    def _read(self, line: str) -> Request | NotUnderstood:
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
                if index == self._quoted:
                    end = self._end_among_quotes(line, end)
            if end < 0:
                return NotUnderstood(f"{field.name} has no end: no {text!r} follows", self.fields.found(values))
            if values.get(key, "-") in ("", "-"):
                values[key] = unescape(line[start:end])
            start, before = end + len(text), text
        found = self.fields.read(self.sent(values))
        if not self._captured or isinstance(found, NotUnderstood):
            return found
        captures = "|".join(values.get(key, "").removeprefix("{").removesuffix("}") for key in self._captured)
        its = with_captures(found, captures)
        agent = its.agent if found.agent is None else found.agent
        return its._replace(agent=agent, referrer=found.referrer or its.referrer)

    def sent(self, values: dict[str, str]) -> dict[str, str]:
        """Return some fields of a line as the client sent them, with addresses that have no port, and with its time.

        Of a target that ends in `-` where it has no query, this is no part."""
        for name in self._with_port:
            if name in values:
                values[name] = _without_port(values[name])
        for name in self._with_query:
            if "?" not in (target := values.get(name, "")):
                values[name] = target.removesuffix("-")
        if self._clock is not None:
            values[clock.KEY] = self._clock.time(values)
        return self._decoded(values)

    def pattern(self, sample: str) -> str | None:  # noqa: ARG002 - all lines are alike
        """Return a pattern of lines without a backslash, with a group for each field that is read.

        Every line that matches is read so. None where a field's end depends on more than the text behind it."""
        read = set(self.fields.names(*NAMES))
        keys = [field.key for field in self._parts if field.key in read]
        if self._open >= 0 or self._clock is not None or self._captured or len(keys) != len(set(keys)):
            return None
        found = "^" + _literally(self._before)
        is_behind_target = is_behind_several = False
        for index, field in enumerate(self._parts):
            value = _value_pattern(field, index == len(self._parts) - 1, is_behind_target, is_behind_several)
            is_behind_target = field.is_before_version
            is_behind_several = _may_have_several(field) and field.text == " "
            if value is None:
                return None
            found += (f"(?P<{field.key}>{value})" if field.key in read else f"(?:{value})") + _literally(field.text)
        # The quotes behind that of the agent are as many as they have to be, or it ends at a later one.
        return found if self._quoted < 0 or not self._parts[-1].text else found + PAIRS_BEHIND

    def _end_among_quotes(self, line: str, end: int) -> int:
        """Return where an agent ends in which there are quotes that the server did not escape; else `end`."""
        text, last = self._parts[self._quoted].text, end
        is_odd = end >= 0 and _quotes(line, end + 1, len(line)) % 2 != self._quotes_behind % 2
        while is_odd and last >= 0:
            following = line.find(text, last + 1)
            is_odd = (following < 0) or _quotes(line, last + 1, following + 1) % 2 == 0
            last = following
        return max(last, end)

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


def _numbered(fields: list[Field]) -> list[Field]:
    """Return the fields, of which those that hold what was captured have a key each."""
    return [
        field._replace(key=f"{_CAPTURED}{number}") if field.key == _CAPTURED else field
        for number, field in enumerate(fields)
    ]


def _quotes(line: str, start: int, end: int) -> int:
    """Return the number of quotes that are not escaped."""
    text = line[start:end].replace("\\\\", "")
    return text.count('"') - text.count('\\"')


def _literally(text: str) -> str:
    """Return a pattern of this text, which all engines read alike."""
    return "".join(char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):X}}}" for char in text)


def _value_pattern(field: Field, is_last: bool, is_behind_target: bool, is_behind_several: bool) -> str | None:
    """Return a pattern of values that end where the text behind them begins; None where that is not all to know.

    Behind a field that may have several values, one that begins with a colon may be of that."""
    if not field.text:
        return _begun(r'[^\\"]*', is_behind_several) + "$" if is_last else None
    if not field.text.startswith(" "):
        blank = " " if is_behind_target else ""
        return _begun(rf'[^\\"{blank}{_literally(field.text[0])}]*', is_behind_several)
    if field.key == "request" or (field.blanks and field.text != " "):
        return None
    word = r'[^ ,"\\]*'
    end = r"(?:,+[^ ,\"\\]+)*"  # a comma at the end: the value goes on
    if has_several := _may_have_several(field):
        if field.text == _ELSEWHERE[:2]:
            return None
        end += r'(?: : [^ ,"\\]+(?:, ?[^ ,"\\]+)*)*'
    if not field.blanks:
        return _begun(word, is_behind_several or has_several) + end
    first = r'[^ :"\\-]' if is_behind_several else r'[^ "\\-]'
    return first + r'[^ "\\]*' + r' [^ "\\]+' * (field.blanks - 1) + r' [^ ,"\\]+' + end


def _begun(characters: str, surely: bool) -> str:
    """Return a pattern of any number of these characters; `surely`: of some, the first of which is no colon."""
    return f"[^:{characters[2:-1]}{characters}" if surely else characters


def _open_agent(before: str, fields: list[Field]) -> int:
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


def _quoted_agent(before: str, fields: list[Field]) -> tuple[int, int]:
    """Return the index of an agent in quotes, -1 where there is none, and the number of quotes behind its own."""
    texts = [before, *(field.text for field in fields)]
    for index, field in enumerate(fields):
        if field.key in NAMES["agent"] and texts[index].endswith('"') and field.text.startswith('"'):
            return index, "".join(texts[index + 1 :]).count('"') - 1
    return -1, 0


def _end(line: str, start: int, field: Field, before: str) -> int:
    """Return where the field that begins at `start` ends; -1 where it does not."""
    text = field.text or "/"
    if field.is_before_version and (version := line.find(" HTTP/", start)) >= 0:
        return version
    if field.key.startswith(_IN_BRACES) and line.startswith("{", start):
        return line.find("}" + text, start) + 1 or -1
    behind_blanks = start
    for _ in range(field.blanks if text.startswith(" ") and line[start : start + 1] != "-" else 0):
        behind_blanks = line.find(" ", behind_blanks) + 1
        if not behind_blanks:
            return -1
        while line[behind_blanks : behind_blanks + 1] == " ":  # a day of one digit
            behind_blanks += 1
    end = line.find(text, behind_blanks)
    if before.endswith('"') and text.startswith('"'):
        while end > 0 and _is_escaped(line, start, end):
            end = line.find(text, end + 1)
    elif text.startswith(" "):
        if field.key == "request" and (version := line.find(" HTTP/", start)) >= 0:
            end = line.find(text, version + 1)
        while end > start:
            if line[end - 1] == ",":  # a chain of addresses
                end = line.find(text, end + 1)
            elif line.startswith(_ELSEWHERE, end) and _may_have_several(field):
                end = line.find(text, end + len(_ELSEWHERE))
            else:
                break
    return end


def _may_have_several(field: Field) -> bool:
    """Return whether nginx puts a colon with blanks between the field's values, of servers that it asked in turn."""
    return field.key.startswith("upstream") and not field.text.startswith(_ELSEWHERE)


def _is_escaped(line: str, start: int, end: int) -> bool:
    backslashes = 0
    while end - backslashes > start and line[end - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def layout(given: str) -> Layout:
    """Read a format string, or the whole line of the configuration that holds it.

    Raises BadLayout where it is none, where two fields have nothing between them, or where it has no time, client,
    status or request."""
    before, fields = dialects.read(given)
    for field, following in pairwise(fields):
        if not field.text and following.key not in ("requesturi", "uri"):
            raise BadLayout(f"nothing separates {field.name} from {following.name}")
    made = Layout(before, fields)
    if made.fields.missing:
        raise BadLayout(f"it has no {made.fields.missing[0]}{_HINTS[made.fields.missing[0]]}")
    return made


def builtin(given: str, whole: bool = False) -> Layout:
    """Read a format string of ours; `whole`: targets are absolute addresses, and name the page's host."""
    return Layout(*dialects.read(given), whole=whole)


def _without_port(text: str) -> str:
    """Return the address of a text such as `2001:db8::1:51000`, whose last part is always a port."""
    address, _, port = text.rpartition(":")
    is_bare = ":" in address and "[" not in text and "." not in port
    return address if is_bare and canonical_address(address) is not None else text
