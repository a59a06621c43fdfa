"""Lines of text by columns, where a pattern of their format finds the fields: W3C logs, format strings, balancers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from ingest.logs import formats
from ingest.logs.columns.found import Found, Named, as_text, looked_up
from ingest.logs.formats.captured import client_behind

_CAPTURED = ("agent", "referrer", "host", "passed_on")  # as `HaProxy.captured` returns them
_LONGEST_PATTERN = 8_000  # characters: of some hundred fields; the automaton of a longer one is slow, or too large
_PREFIX = "]: "  # at the end of what syslog puts before a line


class Texts:
    """Takes the lines of a W3C log, of a format string, or of a program, apart."""

    def __init__(self, its_format: formats.W3c | formats.Layout | formats.Program) -> None:
        self._format = its_format
        self._named = Named(its_format.fields, its_format.sent)

    def found(self, lines: Sequence[bytes]) -> Iterator[Found]:
        """Yield what is found in the lines that the pattern of the format matches."""
        text = as_text(lines)
        sample = next((line for line in text if line and not line.startswith("#")), None)
        pattern = None if sample is None else self._format.pattern(sample)
        if pattern is not None and len(pattern) <= _LONGEST_PATTERN:
            frame = _groups(text, pattern)
            yield self._named.found(frame.select("_row", *(_value(frame, name) for name in self._named.names)))


class OneByOne:
    """Leaves all lines to the parser of their format."""

    def found(self, lines: Sequence[bytes]) -> Iterator[Found]:  # noqa: ARG002 - none of them is taken
        """Yield nothing."""
        return iter(())


class HaProxyLines:
    """Takes the lines of HAProxy apart."""

    def __init__(self, its_format: formats.HaProxy) -> None:
        self._format = its_format
        self._named = Named(its_format.fields, its_format.sent)

    def found(self, lines: Sequence[bytes]) -> Iterator[Found]:
        """Yield what is found in the lines of plain ASCII that the pattern of the format matches."""
        line, at = pl.col("line"), pl.col("at")
        frame = as_text(lines).to_frame("line").with_columns(at=line.str.find(_PREFIX, literal=True))
        is_head = at <= formats.HaProxy.LONGEST_PREFIX - len(_PREFIX)
        body = pl.when(is_head).then(line.str.slice(at + len(_PREFIX))).otherwise(line)
        is_plain = (line.str.len_bytes() == line.str.len_chars()) & ~line.str.starts_with("#")
        frame = frame.select(line=pl.when(is_plain).then(body))
        before = line.str.splitn('"', 2).struct[0]
        frame = _groups(frame["line"], formats.HaProxy.PATTERN, before=before)
        frame = frame.filter(pl.col("before").str.contains("[^,] $")).with_columns(
            captures=pl.col("before").str.splitn("{", 2).struct[1].fill_null("")
        )
        frame = looked_up(frame, ["captures"], self._format.captured, dict.fromkeys(_CAPTURED, pl.String()))
        its = self._named.found(frame)
        if frame["passed_on"].ne("").any():
            its = its._replace(frame=_with_clients_behind(its.frame))
        yield its._replace(
            page_by=[*its.page_by, "referrer", "host"], request=self._request, agent_by=["agent"], agent=_agent
        )

    def _request(self, *values: str) -> formats.Request | str:
        *named, referrer, host = values
        found = self._named.request(*named)
        return found if isinstance(found, str) else found._replace(referrer=referrer, host=host or found.host)


def _with_clients_behind(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the lines with `_ip` as that of whom a balancer passed on."""
    direct = frame.rename({"_ip": "direct"})
    found = looked_up(
        direct,
        ["direct", "passed_on"],
        lambda ip, passed_on: (None if ip is None else client_behind(ip, passed_on),),
        {"_ip": pl.String()},
    )
    return found.drop("direct")


def _agent(agent: str | None) -> str | None:
    return agent


def _groups(text: pl.Series, pattern: str, **more: pl.Expr) -> pl.DataFrame:
    """Return `_row` and the groups of the lines that the pattern matches, and more of these lines."""
    line = pl.col("line")
    frame = text.to_frame("line").with_row_index("_row").filter(~line.str.starts_with("#"))
    groups = line.str.extract_groups(pattern + "(?P<_matched>)").alias("groups")
    return frame.select("_row", groups, **more).unnest("groups").filter(pl.col("_matched").is_not_null())


def _value(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Return the field of this name: from its group, or from its two ones, of which one is for quoted values."""
    found = [pl.col(column) for column in (name, f"{name}_") if column in frame.columns]
    return pl.coalesce(*found, pl.lit("")).alias(name)
