"""What a tracker's protocol consists of here, so that a client needs nothing but another URL.

A protocol is a value: its routes, a pure function from a request to events, a pure function from what became of them
to the answer that its clients know, and the table of its fields. The service serves any of them alike: it unpacks
gzip, finds the site, judges each event by the same rules as our own, makes it durable, and adds CORS and `Retry-After`.

How the sender names the site differs by protocol. A domain, website id or measurement id in an event becomes its
`site`; a write key or secret becomes the `credential` of the batch. The sites file says which id belongs to which site,
and which credentials are secret: only with a secret one do the address and the agent count that an event gives for its
visitor, and times beyond the clamp. An id by which the tracker tells visitors apart becomes `client`; without one, the
visitor is the cookieless one that the request itself has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from activity.incoming import Batch, Incoming, Limits
from activity.refusal import Refusal


class TrackerRequest(NamedTuple):
    """A request as a protocol reads it. The body is unpacked, whatever its headers say."""

    method: str
    path: str  # without the prefix `/compat/NAME`, and without a slash at its end
    query: str  # raw
    headers: Mapping[bytes, bytes]  # names in lower case
    body: bytes


class Tracked(Incoming, frozen=True, kw_only=True, omit_defaults=True):
    """An event that a tracker of others sent.

    `site` may be "" where the credential tells the site. `url` may be a path, which is the site's own then, and "" of
    anything but a page view. `id` is the tracker's own, under which it sends the event again."""

    client: str = ""  # by which the tracker tells the visitor from others
    address: str = ""  # of the visitor, as a server of the site gives it
    agent: str = ""  # the visitor's `User-Agent`, as a server of the site gives it
    sent_at: int | None = None  # Unix milliseconds, where it differs from that of the batch
    ago_ms: int = 0  # without `ts`: how long before its arrival it happened, by the tracker's own clock
    # The name of the custom event that a search is if the page's address has its term: the page view told it already.
    told_as: str = ""


class TrackerBatch(Batch, frozen=True, kw_only=True):
    """The events of one request of a tracker, each a `Tracked` or the `Refusal` in its place."""

    credential: str = ""  # the key, token or secret with which it was sent
    form: str = ""  # of the answer, where a protocol has several; its own `answer` knows what it means
    leads_to: str = ""  # where its sender wants to get, which the site has to allow
    # What a dead letter keeps instead of a body, or of a query, in base64, which would hide an address or a secret.
    plain: bytes = b""
    plain_query: bytes = b""  # the same of a query that is one still, alone or beside a body


class Answer(NamedTuple):
    """A response but for the headers that all of them have."""

    status: int
    body: bytes = b""
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Outcome(NamedTuple):
    """What became of the events of a request. Those refused for their rate never get here if all can be sent again."""

    form: str
    accepted: int
    duplicates: int
    refused: tuple[Refusal, ...]

    @property
    def taken(self) -> int:
        """How many events are stored, or were so before."""
        return self.accepted + self.duplicates

    @property
    def left_out(self) -> list[int]:
        """The places in the request of what became no event, in order; see `leaving_out`."""
        return [int(place) for place in self.form.split()[1:]]

    @property
    def places(self) -> list[int]:
        """Where in the request each that was refused stands."""
        left_out = self.left_out
        if not left_out:
            return [refusal.index for refusal in self.refused]
        most = max((refusal.index for refusal in self.refused), default=0) + len(left_out)
        there = sorted({*range(most + 1)}.difference(left_out))
        return [there[refusal.index] for refusal in self.refused]


class Route(NamedTuple):
    """One path of a protocol, without a slash at its end."""

    path: str
    methods: tuple[str, ...] = ("POST",)
    prefix: bool = False  # whether all paths below it are meant, too
    header: bytes = b""  # tells the protocol's requests from another's with the same path


class Field(NamedTuple):
    """One line of a protocol's table: what becomes of a field that its clients send."""

    theirs: str  # as its clients spell it, such as "context.page.url"
    ours: str  # the field of an event that it becomes, "props" if it is kept as a property, "" if it is left out
    note: str = ""  # why it is left out, or what differs in meaning


class Protocol(msgspec.Struct, frozen=True, eq=False):
    """A tracker's protocol: how its clients are understood and answered."""

    name: str  # in the path `/compat/NAME`, and of the events
    title: str
    routes: tuple[Route, ...]
    read: Callable[[TrackerRequest, Limits], TrackerBatch | Answer]  # never raises; an `Answer` needs no events
    answer: Callable[[Outcome], Answer]
    fields: tuple[Field, ...]
    notes: str = ""  # of its page in the documentation: setting up, and what differs
    heeds: tuple[bytes, ...] = ()  # headers on which it depends what an event is, which a dead letter keeps
    slow_down: int = 429  # the status for what came too fast, after which its clients send again
    away: int = 503  # the status while nothing can be stored, after which they do so
    wait: bytes = b""  # the header in which they look for how many seconds, beside `Retry-After`


def refused(reason_and_detail: Refusal, credential: str = "", form: str = "") -> TrackerBatch:
    """Return the batch of a request that cannot be read at all."""
    return TrackerBatch(sent_at=None, items=[reason_and_detail], credential=credential, form=form)


def leaving_out(form: str, places: Iterable[int]) -> str:
    """Return the form of the answer to a request of which what stands at these places became no event."""
    return " ".join((form, *map(str, places)))


def worst(outcome: Outcome) -> str:
    """Return the details of all refusals, for the answer to a request of which nothing was taken."""
    return "; ".join(dict.fromkeys(refusal.detail for refusal in outcome.refused))[:1_000]


def encoded(content: object) -> bytes:
    """Return JSON."""
    return msgspec.json.encode(content)
