"""Times that a server writes in a notation of its own, `%{%d.%m.%Y}t … %{%T}t`, given in strftime's directives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from ingest.logs.formats.dialects import BadLayout, Field
from ingest.logs.formats.times import time_in

KEY = "timeiso8601"  # of what `Clock.time` returns
_SHORT = {
    "%D": "%m/%d/%y", "%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M", "%e": "%d", "%h": "%b", "%k": "%H",
    "%l": "%I", "%r": "%I:%M:%S %p", "%x": "%m/%d/%y", "%X": "%H:%M:%S", "%c": "%a %b %d %H:%M:%S %Y", "%n": " ",
    "%t": " ",
}  # fmt: skip
_SINCE_1970 = ("sec", "msec", "usec", "%s")
_FRACTIONS = {"msec_frac": 3, "usec_frac": 6}  # digits
_DIGITS = re.compile(r"%[1-9]f")  # Envoy's
_DIRECTIVE = re.compile(r"%[A-Za-z]")
_SAMPLE = datetime(2003, 8, 17, 16, 5, 4, tzinfo=timezone(timedelta(hours=2)))  # no two parts of it are alike


class Clock:
    """Reads the time of a line from the fields that together have it."""

    def __init__(self, parts: list[tuple[str, str]]) -> None:
        """`parts` are keys of fields and their notations. Raises BadLayout where they cannot be read."""
        self._digits = next((digits for _, form in parts if (digits := _FRACTIONS.get(form))), 0)
        self._fraction = next((key for key, form in parts if form in _FRACTIONS), "")
        self._keys = [key for key, form in parts if form not in _FRACTIONS]
        self._form = " ".join(form for _, form in parts if form not in _FRACTIONS)
        self._read = lru_cache(4_096)(self._time)
        try:
            datetime.strptime(_SAMPLE.strftime(self._form), self._form)  # noqa: DTZ007 - only whether it can be read
        except (ValueError, re.error) as error:  # that of `re` where it names a part twice
            raise BadLayout(f"its time cannot be read: {error}") from error

    def time(self, values: Mapping[str, str]) -> str:
        """Return the time of these values as ISO 8601 has it; what stands there where that is no such time."""
        text = " ".join(values.get(key, "") for key in self._keys)
        fraction = values.get(self._fraction, "") if self._fraction else ""
        return self._read(text, fraction.zfill(self._digits) if fraction.isdigit() else "0")

    def _time(self, text: str, fraction: str) -> str:
        try:
            moment = datetime.strptime(text, self._form)  # noqa: DTZ007 - next line
        except ValueError:
            return text
        moment = moment.replace(tzinfo=moment.tzinfo or UTC, microsecond=int(f"{fraction}000000"[:6]))
        return moment.isoformat()


def with_times(fields: list[Field]) -> tuple[list[Field], Clock | None]:
    """Give the fields that hold a time their keys; return them, and what reads the time if no usual notation is used.

    Of times of a request's begin and of its end, that of its begin counts. Raises BadLayout as `Clock` does."""
    found = list(fields)
    forms = {index: _form(field) for index, field in enumerate(fields) if field.form}
    begin = {index: form for index, form in forms.items() if not fields[index].form.startswith("end:")}
    its = begin if _is_whole(begin.values()) else forms
    for index, form in forms.items():
        found[index] = fields[index]._replace(blanks=form.count(" "))
    since_1970 = next((index for index, form in its.items() if form in _SINCE_1970), None)
    if since_1970 is not None:
        found[since_1970] = fields[since_1970]._replace(key="msec")
        return found, None
    if not _is_whole(its.values()) or any(field.key == "timelocal" for field in fields):
        return found, None
    is_usual = len(its) <= 2 and _is_usual(" ".join(its.values()))
    keys = ["timelocal"] if len(its) == 1 else ["date", "time"]
    if not is_usual:
        keys = [f"clock{number}" for number in range(len(its))]
    for index, key in zip(its, keys, strict=True):
        found[index] = found[index]._replace(key=key)
    return found, None if is_usual else Clock(list(zip(keys, its.values(), strict=True)))


def _form(field: Field) -> str:
    form = field.form.removeprefix("begin:").removeprefix("end:")
    form = _DIGITS.sub("%f", form)
    if form == "%s.%f":  # a number, too
        return "%s"
    return form if form in (*_FRACTIONS, *_SINCE_1970) else _DIRECTIVE.sub(lambda its: _SHORT.get(its[0], its[0]), form)


def _is_whole(forms: Iterable[str]) -> bool:
    """Return whether these notations together have day and hour."""
    text = " ".join(forms)
    return any(form in _SINCE_1970 for form in text.split(" ")) or (
        re.search("%[dj]", text) is not None and re.search("%[HI]", text) is not None
    )


def _is_usual(form: str) -> bool:
    """Return whether times of this notation are read right without knowing it."""
    written = _SAMPLE if "%z" in form else _SAMPLE.replace(tzinfo=UTC)
    return time_in(written.strftime(form)) == written.timestamp() * 1_000
