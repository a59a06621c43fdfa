"""Events of log requests: each page and each visitor is enriched once, and the events are encoded by columns.

A request becomes a page view (and the search that its address holds) as if the page had sent it, except for who and
when: the visitor is a keyed hash under the site's kept import key, and the time is the log's. Its id is a hash of what
was sent, under a sender's id that is made from the line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeVar

import msgspec
import polars as pl

from activity.attribution import referrer_host
from activity.blocks import BLOCK_COLUMNS
from activity.enrich import DAY, SiteRules, enrich
from activity.event import Event, EventType, event_ids, import_visitor, topic_of
from activity.geo import NOWHERE, Place, lookup, version
from activity.geo import Reader as PlaceReader
from activity.incoming import Incoming
from activity.refusal import Refusal
from activity.url import without_session_ids
from activity.user_agent import LONGEST as LONGEST_AGENT
from activity.user_agent import Agent
from activity.user_agent import parse as parse_agent
from ingest.logs.batch import Accepted
from ingest.logs.formats import Request, as_text
from ingest.logs.template import Template
from ingest.logs.together import Fields, fields_of, in_columns, numbered, searches, table

PROTOCOL = "import"
LONG = 1024  # characters: texts beyond are mostly unique, and would push the others out of a cache

_T = TypeVar("_T")
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_encode = msgspec.json.Encoder().encode

_SENT = Template(Incoming, dict.fromkeys(("id", "ts"), "line") | {"referrer": "referrer"}, rest="page")
# The fields of an event by what they follow from; the others are a line's own.
_OF_AGENT = ("country", "region", "city", "enriched_by", *Agent.__struct_fields__)
_OF_TARGET = tuple(
    name for name in BLOCK_COLUMNS if name not in ("id_hi", "id_lo", "visitor", "occurred_at", "referrer", *_OF_AGENT)
)
_of_target, _of_agent = fields_of(_OF_TARGET), fields_of(_OF_AGENT)


@dataclass(frozen=True)
class Referrer:
    """What all views that came from one page have in common. Two are equal where a view's source is the same."""

    host: str  # as `attribution` reads it
    kept: str = field(compare=False)
    sent: list[str] = field(compare=False)  # the texts from which events' ids are computed
    stored: str = field(compare=False)


class Target(NamedTuple):
    """What all views of one page, of visitors who came from the same host, have in common: all but the referrer."""

    sent: list[str]
    view: Fields  # `_OF_TARGET`
    search: Fields | None  # of the search in its address, None where there is none


class Page(NamedTuple):
    """What all views of one page, of visitors who came from the same one, have in common."""

    target: Target
    referrer: Referrer


class Visitor(NamedTuple):
    """What all views by one visitor have in common."""

    name: str  # 16 hex digits
    bot: bool
    agent: Fields  # `_OF_AGENT`


class EventWriter:
    """Makes the events of one site's log requests, all received at one moment (milliseconds UTC)."""

    def __init__(self, site: SiteRules, key: bytes, received_at: int, places: PlaceReader | None) -> None:
        """`key` is the site's import key, `places` the database of places, where there is one."""
        self._site = site
        self._key = key
        self._received_at = received_at
        self._places = places
        self._source = version(places)
        self._kept_target = lru_cache(32_768)(self._target)
        self._kept_referrer = lru_cache(32_768)(_referrer)
        self.kept_visitor = lru_cache(65_536)(self._visitor)  # the same as `visitor`, of an agent that is not `LONG`
        self._agent = lru_cache(16_384)(self._agent_of)
        # Kept for one import, by address: the event never sees it.
        self._place = lru_cache(16_384)(lambda ip: lookup(places, ip, self._source))
        self._takes_day = lru_cache(4_096)(self._takes_whole_day)

    def page_of(self, request: Request) -> Page | Refusal:
        """Enrich the page view that a request is, as `page` does."""
        host = request.host or next(filter(self._site.owns, request.named.split()), "")
        return self.page(host, request.target, request.referrer)

    def page(self, host: str, target: str, referrer: str) -> Page | Refusal:
        """Enrich a page view of this page; return what its events share, or why nothing is taken of it."""
        came = (self._kept_referrer if len(referrer) <= LONG else _referrer)(referrer)
        its = (self._kept_target if len(target) + len(referrer) <= LONG else self._target)(host, target, came)
        return its if isinstance(its, Refusal) else Page(its, came)

    def visitor(self, ip: str, agent_text: str | None) -> Visitor:
        """Enrich a view from this canonical address by this agent; None where the log records no agents."""
        visitors = self.kept_visitor if len(agent_text or "") <= LONG else self._visitor
        return visitors(ip, agent_text)

    def refusal_of(self, at: int) -> Refusal | None:
        """Return why no event of this time (milliseconds UTC) is taken; None where it is."""
        return None if self._takes_day(at // DAY) else self._refusal_of(at)

    def takes_day(self, day: int) -> bool:
        """Return whether events of any time of this day (days since 1970, UTC) are taken."""
        return self._takes_day(day)

    def write(
        self, rows: pl.DataFrame, sender_ids: Sequence[str], pages: Sequence[Page], visitors: Sequence[Visitor]
    ) -> Accepted:
        """Make the events of requests.

        `rows` has a request a row: `at` (milliseconds UTC, of a day that is taken), and `page` and `visitor`, the
        indexes of its page and visitor in `pages` and `visitors`. `sender_ids` has a text of plain ASCII a row."""
        if rows.is_empty():
            return Accepted()
        site = self._site.domain
        targets, referrers = [page.target for page in pages], [page.referrer for page in pages]
        sent = rows.select("at", id=pl.Series(sender_ids, dtype=pl.String)).with_columns(
            *_texts(rows["page"], _SENT.columns("page"), [target.sent for target in targets]),
            *_texts(rows["page"], _SENT.columns("referrer"), [referrer.sent for referrer in referrers]),
        )
        contents = _encoded(sent, _SENT, {"id": _quoted("id"), "ts": _number("at")})
        ids = event_ids(site, sender_ids, contents)
        theirs = rows["visitor"].to_list()
        names = [visitor.name for visitor in visitors]
        accepted = Accepted(ids, _picked(names, theirs), _picked([visitor.bot for visitor in visitors], theirs))
        target, of_target = numbered(targets, rows["page"])
        referrer, of_referrer = numbered(referrers, rows["page"])
        lines = rows.select(occurred_at="at", _visitor="visitor", _target=target, _referrer=referrer)
        agents = table(_OF_AGENT, [visitor.agent for visitor in visitors])
        tables = {
            "_target": table(_OF_TARGET, [target.view for target in of_target]),
            "_visitor": agents.with_columns(pl.Series("visitor", names)),
            "_referrer": pl.DataFrame({"referrer": [referrer.stored for referrer in of_referrer]}),
        }
        every_line = list(range(len(ids)))
        accepted.in_columns.append(in_columns(topic_of(EventType.PAGEVIEW), every_line, ids, lines, tables))
        is_searched = pl.Series([target.search is not None for target in of_target])
        searching = is_searched.gather(target).arg_true().to_list()
        if searching:
            tables["_target"] = table(_OF_TARGET, [target.search or target.view for target in of_target])
            accepted.in_columns.append(searches(searching, ids, lines, tables))
        return accepted

    def _target(self, host: str, target: str, came: Referrer) -> Target | Refusal:
        origin = f"https://{host or self._site.domain}"
        # Its id is computed with U+FFFD for a byte that is no UTF-8, and always was: a log imported again adds nothing.
        sent = Incoming(
            site=self._site.domain,
            type=EventType.PAGEVIEW,
            url=origin + _clean(as_text(target)),
            id="-",
            ts=self._received_at,
        )
        made = self._enriched(
            msgspec.structs.replace(sent, url=origin + _clean(_escaped(target)), referrer=came.kept)
        )
        if isinstance(made, Refusal):
            return made
        view, *search = map(_of_target, made)
        return Target(_SENT.texts("page", _encode(sent)), view, search[0] if search else None)

    def _visitor(self, ip: str, agent_text: str | None) -> Visitor:
        name = import_visitor(self._key, self._site.domain, ip, agent_text or "")
        its_place = self._place(ip) if self._places else NOWHERE
        return Visitor(name, *self._agent(agent_text and agent_text[:LONGEST_AGENT], its_place))

    def _agent_of(self, text: str | None, its_place: Place) -> tuple[bool, Fields]:
        found = Agent() if text is None else parse_agent(text)
        made = self._enriched(self._sample(self._received_at), found, its_place)
        assert not isinstance(made, Refusal)
        return bool(found.bot), _of_agent(made[0])

    def _takes_whole_day(self, day: int) -> bool:
        moments = (day * DAY, (day + 1) * DAY - 1)
        return all(self._refusal_of(at) is None for at in moments)

    def _refusal_of(self, at: int) -> Refusal | None:
        made = self._enriched(self._sample(at))
        return made if isinstance(made, Refusal) else None

    def _sample(self, at: int) -> Incoming:
        domain = self._site.domain
        return Incoming(site=domain, type=EventType.PAGEVIEW, url=f"https://{domain}/", id="-", ts=at)

    def _enriched(
        self, incoming: Incoming, found: Agent = Agent(), its_place: Place = NOWHERE  # noqa: B008 (frozen)
    ) -> list[Event] | Refusal:
        return enrich(
            incoming,
            site=self._site,
            visitor="",
            received_at=self._received_at,
            agent=found,
            fresh_id="",
            place=its_place,
            protocol=PROTOCOL,
            trusted=True,
        )


def _referrer(text: str) -> Referrer:
    kept, sent = _clean(_escaped(text)), _clean(as_text(text))
    texts = _SENT.texts("referrer", _encode({"referrer": sent} if sent else {}))
    return Referrer(referrer_host(kept), kept, texts, without_session_ids(kept))  # as `enrich` does


def _picked(values: Sequence[_T], indexes: list[int]) -> list[_T]:
    return [values[index] for index in indexes]


def _encoded(frame: pl.DataFrame, template: Template, values: dict[str, pl.Expr]) -> list[bytes]:
    return frame.select(template.json(values).cast(pl.Binary)).to_series().to_list()


def _texts(indexes: pl.Series, names: list[str], texts: list[list[str]]) -> list[pl.Series]:
    """Return the columns `names`; each row of them holds the texts at its index."""
    columns = zip(names, zip(*texts, strict=True), strict=True)
    return [pl.Series(name, column, dtype=pl.String).gather(indexes) for name, column in columns]


def _quoted(name: str) -> pl.Expr:
    return pl.concat_str(pl.lit('"'), pl.col(name), pl.lit('"'))


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String)


def _escaped(text: str) -> str:
    """Percent-encode each byte that is no UTF-8, so that it is kept."""
    return text if text.isascii() else _NO_UTF8.sub(lambda byte: f"%{ord(byte.group()) - 0xDC00:02X}", text)


def _clean(text: str) -> str:
    """Remove control characters, which an event may not hold."""
    return text if text.isprintable() else "".join(char for char in text if char >= " " and char != "\x7f")
