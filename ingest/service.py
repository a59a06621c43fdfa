"""The tracking service: a `Request` in, a `Response` out, whichever server runs it.

`asgi` and `wsgi` translate between their server and these values. An answer has status 202 when at least one event was
accepted or was a duplicate, otherwise the highest status among the refusals. It gives the counts and each refusal in
words in its JSON body, and the reasons in the header `x-footfall-refused`. Pages of any origin may read the answer,
since it only says what became of the sender's own events; the origins that may *send* are a rule of the site.

Create a service in the process that uses it and close it there. It does not close the broker and the stores that it is
given: `on_close` does, or the caller.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

from activity import geo
from activity.refusal import STATUS, Reason, Refusal
from brokers.base import Broker
from ingest import assets, health, trackers
from ingest.client import LookUp, Visitors
from ingest.collect import Collected, Collector, Options, Submission
from ingest.counters import Counters
from ingest.dead_letters import DeadLetters
from ingest.entry import Entry, Unavailable, Verdict
from ingest.http import ENDINGS, FAULT, Headers, Reply, Request, Response, json_response, text_response
from ingest.limiter import Limiter
from ingest.outbox import Outbox
from ingest.outcomes import Outcomes
from ingest.sites import Sites
from ingest.spool import Spool
from stores.base import Live

log = logging.getLogger(__name__)

_UPKEEP_EVERY = 0.5  # seconds
_OUTCOMES_EVERY = 10.0  # seconds
_COLLECT, _PIXEL = "/collect", "/collect.gif"
_LONGEST_ORIGIN = 256  # bytes
_LOOK_UP_S = 1.0  # seconds that a request waits for the live store, which has a shorter timeout of its own



class Service:
    """Accepts events for `sites`, and answers a request once the broker or the spool holds its events durably."""

    def __init__(
        self,
        *,
        broker: Broker,
        live: Live,
        sites: Sites,
        spool: Spool,
        options: Options | None = None,
        places: geo.Reader | None = None,
        counters: Counters | None = None,
        create_topics: Callable[[], object] = lambda: None,
        on_close: Callable[[], object] = lambda: None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Start the service's threads.

        `create_topics` is called when the broker is back, see `Outbox`. `close` closes the spool, and calls `on_close`
        last, to close what was opened for this service. `clock_ms` returns Unix milliseconds."""
        self._options = options or Options()
        self._on_close = on_close
        self._counters = counters or Counters()
        self._clock_ms = clock_ms
        self._live = live
        self._limiter = Limiter()
        self._visitors = Visitors(live)
        self._dead_letters = DeadLetters(self._counters.add)
        self._collector = Collector(sites, self._visitors, self._options, places, self._limiter, self._dead_letters)
        self._spool = spool
        incarnation = os.urandom(8).hex().encode()
        self._outcomes = Outcomes(incarnation.decode())
        self._pages: dict[str, Callable[[Request], Response]] = {
            "/": assets.welcome,
            _PIXEL: lambda _: assets.pixel([]),
            "/live": lambda _: health.live(),
            "/ready": lambda _: health.ready(self._outbox, self._spool, live.problem),
            "/metrics": lambda _: health.metrics(self._counters, self._spool, live.problem),
        }
        self._outbox = Outbox(
            broker, self._spool, live, incarnation, create_topics=create_topics, after_group=self._reply_to_group
        )
        self._accepted = 0  # events of the group that is being answered, counted together
        self._responses: list[tuple[Reply, Response]] = []  # to that group, sent when its events are counted
        self.max_body = self._options.max_body
        self._outbox.start()
        self._visitors.look_ahead(clock_ms())
        self._closing = threading.Event()
        self._unsent: list[Entry] = []  # counts that could not be made durable yet
        self._looking: set[asyncio.Task[None]] = set()  # the event loop itself does not keep its tasks
        self._look_ups = ThreadPoolExecutor(4, thread_name_prefix="look-up")
        self._upkeep = threading.Thread(target=self._keep_up, name="upkeep", daemon=True)
        self._upkeep.start()

    def begin(self, request: Request, reply: Reply) -> None:
        """Answer one request on an event loop by calling `reply`, once its events are durable.

        Nearly every request needs no task: it is judged at once, and answered with all others of its group. A fault of
        ours is raised, or answered with FAULT if it comes later."""
        submission = self._start(request)
        if isinstance(submission, Response):
            reply(submission)
            return
        received_at = self._clock_ms()
        if wanted := self._collector.wanted(submission, received_at):
            looking = asyncio.get_running_loop().create_task(self._judge_later(wanted, submission, received_at, reply))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
        else:
            self._judge(submission, received_at, reply)

    async def handle(self, request: Request) -> Response:
        """Answer one request on an event loop, once its events are durable."""
        answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.begin(request, lambda response: None if answered.done() else answered.set_result(response))
        return await answered

    def handle_and_wait(self, request: Request) -> Response:
        """Answer one request like `handle`, blocking, for a server that gives each request a thread."""
        submission = self._start(request)
        if isinstance(submission, Response):
            return submission
        received_at = self._clock_ms()
        try:
            if wanted := self._collector.wanted(submission, received_at):
                self._count_split(self._visitors.look_up(wanted))
            collected = self._collector.judge(submission, received_at)
            verdicts = self._outbox.settle_and_wait(collected.entries) if collected.entries else []
        except Unavailable as error:
            return self._not_durable(submission, error)
        return self._finish(collected, verdicts)

    def too_large(self, path: str, headers: Headers) -> Response:
        """Return the answer to a body larger than `max_body`, which the caller stops reading."""
        self._counters.add("refused", "too_large")
        self._outcomes.add(self._clock_ms(), "", "refused", Reason.TOO_LARGE)
        known = dict(headers)
        found = trackers.route(path, known) if path != _COLLECT else None
        return too_large(self.max_body, known, None if found is None else trackers.Tracker(found.protocol))

    def close(self) -> None:
        """Stop the threads, after every entry handed in has its verdict."""
        self._closing.set()
        self._upkeep.join()
        self._look_ups.shutdown(wait=False, cancel_futures=True)
        now = self._clock_ms()
        self._send(self._dead_letters.close(now) + self._outcomes.entries(now))
        self._outbox.close()
        self._on_close()

    def _judge(self, submission: Submission, received_at: int, reply: Reply) -> None:
        try:
            collected = self._collector.judge(submission, received_at)
            if collected.entries:
                self._outbox.hand_in(collected.entries, partial(self._settled, submission, collected, reply))
                return
        except Unavailable as error:
            reply(self._not_durable(submission, error))
            return
        reply(self._finish(collected, []))

    async def _judge_later(self, wanted: LookUp, submission: Submission, received_at: int, reply: Reply) -> None:
        try:
            await self._look_up(wanted)
            self._judge(submission, received_at, reply)
        except ENDINGS:
            raise
        except BaseException:
            log.exception("A request could not be judged")
            reply(FAULT)

    def _settled(
        self, submission: Submission, collected: Collected, reply: Reply, verdicts: list[Verdict] | Unavailable
    ) -> None:
        try:
            if isinstance(verdicts, Unavailable):
                response = self._not_durable(submission, verdicts)
            elif _is_all_accepted(collected, verdicts):
                self._accepted += len(verdicts)
                self._outcomes.all_accepted(collected)
                response = _all_accepted(len(verdicts), collected.tracker, collected.origin)
            else:
                response = self._finish(collected, verdicts)
        except Exception:
            log.exception("A request's answer could not be built")
            response = FAULT
        self._responses.append((reply, response))

    async def _look_up(self, wanted: LookUp) -> None:
        if not self._live.waits:
            self._count_split(self._visitors.look_up(wanted))
            return
        looking = asyncio.get_running_loop().run_in_executor(self._look_ups, self._visitors.look_up, wanted)
        try:
            split = await asyncio.wait_for(looking, _LOOK_UP_S)
        except TimeoutError:  # what the thread finds later comes too late for this request
            split = len(wanted.sites)
        self._count_split(split)

    def _reply_to_group(self) -> None:
        """Count, then answer: whoever was answered, even by a process that dies now, finds the event counted."""
        responses, self._responses = self._responses, []
        accepted, self._accepted = self._accepted, 0
        try:
            if accepted:
                self._counters.add("accepted", n=accepted)
        except Exception:
            log.exception("%d accepted events could not be counted", accepted)
        for reply, response in responses:
            try:
                reply(response)
            except Exception:  # one request's fault is not the others'
                log.exception("A request could not be answered")

    def _count_split(self, visitors: int) -> None:
        if visitors:
            self._counters.add("visitors_split", n=visitors)

    def _keep_up(self) -> None:
        """Do the periodic work that may wait for the live store, on a thread of its own."""
        sent = time.monotonic()
        while not self._closing.wait(_UPKEEP_EVERY):
            try:
                now = self._clock_ms()
                self._visitors.look_ahead(now)
                self._limiter.synchronise(self._live)
                self._send(self._dead_letters.end_hour(now))
                if time.monotonic() - sent >= _OUTCOMES_EVERY:
                    sent = time.monotonic()
                    self._send(self._outcomes.entries(now))
            except Exception:
                log.exception("The service's upkeep failed and is tried again")

    def _send(self, entries: list[Entry]) -> None:
        self._unsent += entries
        if not self._unsent:
            return
        try:
            self._outbox.settle_and_wait(self._unsent)
            self._unsent = []
        except Unavailable as error:
            log.warning("%d records of counts wait: %s", len(self._unsent), error)

    def _start(self, request: Request) -> Submission | Response:
        method, path = request.method, request.path
        if path == _COLLECT:
            if method == "POST":
                return self._collector.read(request)
            if method == "OPTIONS":
                return trackers.preflight(request, ("POST",))
            return _not_allowed(request, "POST, OPTIONS")
        if path == _PIXEL and method == "GET":
            return self._collector.read_pixel(request)
        if path == _PIXEL and method == "OPTIONS":
            return trackers.preflight(request, ("GET", "HEAD"))
        is_script = path.startswith("/beacon") and not path.startswith("/beacon/")  # which is RudderStack's
        page = self._pages.get(path) or (assets.script if is_script else None)
        if page is None:
            found = trackers.route(path, dict(request.headers))
            if found is not None:
                return self._start_tracker(found, request)
            nothing = text_response(404, f"Nothing is at {path}: events go to POST /collect.\n")
            return _for_pages(request, nothing)
        if method not in ("GET", "HEAD"):
            return _not_allowed(request, "GET, HEAD")
        return page(request)

    def _start_tracker(self, found: trackers.Found, request: Request) -> Submission | Response:
        if request.method == "OPTIONS":
            return trackers.preflight(request, found.methods)
        if request.method not in found.methods:
            return _not_allowed(request, ", ".join((*found.methods, "OPTIONS")))
        return self._collector.read_tracker(found, request)

    def _finish(self, collected: Collected, verdicts: list[Verdict]) -> Response:
        self._outcomes.settled(collected, verdicts)
        return answer(collected, verdicts, self._counters)

    def _not_durable(self, submission: Submission, error: Unavailable) -> Response:
        events = len(submission.batch.items)
        self._counters.add("unavailable", n=events)
        self._outcomes.add(self._clock_ms(), "", "unavailable", n=events)
        tracker = submission.tracker
        if tracker is not None and tracker.leads_on and self._collector.leads_astray(submission) is None:
            # Who follows a link would not come again, and wants to get to its end.
            return tracker.answer(0, 0, [], trackers.cors(submission.headers.get(b"origin")))
        return unavailable(error, submission.headers, tracker)


def _is_all_accepted(collected: Collected, verdicts: list[Verdict]) -> bool:
    events = len(collected.owners)
    return not collected.refused and events == verdicts.count(Verdict.ACCEPTED) == len(verdicts) and not collected.pixel


def _all_accepted(events: int, tracker: trackers.Tracker | None, origin: bytes | None) -> Response:
    """Return the answer to a request with all of its events accepted, which most are."""
    # A longer origin is a sender's own, and would only fill the memory.
    make = _cached_accepted if origin is None or len(origin) <= _LONGEST_ORIGIN else _accepted
    return make(events, tracker, origin)


def _accepted(events: int, tracker: trackers.Tracker | None, origin: bytes | None) -> Response:
    headers = trackers.cors(origin)
    if tracker is not None:
        return tracker.answer(events, 0, [], headers)
    return json_response(202, {"accepted": events, "duplicates": 0, "refused": []}, headers)


_cached_accepted = lru_cache(maxsize=1024)(_accepted)


def answer(collected: Collected, verdicts: list[Verdict], counters: Counters) -> Response:
    """Build the answer from the verdict of each entry, and count the outcomes it reports."""
    accepted = duplicates = 0
    refused = collected.refused
    for index, verdict in zip(collected.owners, verdicts, strict=False):
        if verdict is Verdict.ACCEPTED:
            accepted += 1
        elif verdict is Verdict.DUPLICATE:
            duplicates += 1
        elif verdict is Verdict.REUSED:
            accepted += 1
            counters.add("accepted", "id_reused")
        else:
            detail = "the event is larger than the broker takes: send less in it"
            refused = [*refused, Refusal(index, Reason.TOO_LARGE, detail)]
    if accepted:
        counters.add("accepted", n=accepted - sum(v is Verdict.REUSED for v in verdicts))
    if duplicates:
        counters.add("duplicate", n=duplicates)
    for refusal in refused:
        counters.add("refused", refusal.reason)
    headers = _refusal_headers(refused, collected.origin)
    if collected.retry_after:
        headers = [*_wait(collected.retry_after, collected.tracker), *headers]
    if collected.pixel:
        return assets.pixel(headers)
    if collected.tracker is not None and not _to_send_again(collected):
        return collected.tracker.answer(accepted, duplicates, refused, headers)
    content = {"accepted": accepted, "duplicates": duplicates, "refused": refused}
    tracker = collected.tracker
    status = tracker.protocol.slow_down if tracker is not None else _status(accepted + duplicates, refused)
    return json_response(status, content, headers)


def _to_send_again(collected: Collected) -> bool:
    """Return whether another tracker's client should send all of the request again, since some came too fast.

    It cannot send a part of it; so not if events were taken that would not be recognised, and not if there are too many
    for the limits at any time."""
    if collected.tracker is not None and collected.tracker.leads_on:
        return False
    events = collected.entries[: len(collected.owners)]
    again = bool(collected.retry_after) and collected.fits
    return again and all(entry.memory_key is not None for entry in events)


def _wait(seconds: int, tracker: trackers.Tracker | None) -> Headers:
    """Return the headers that tell a client when to send again."""
    names = [b"retry-after", tracker.protocol.wait if tracker is not None else b""]
    return [(name, b"%d" % seconds) for name in names if name]


def unavailable(
    error: Unavailable, asked: dict[bytes, bytes], tracker: trackers.Tracker | None = None
) -> Response:
    """Return the answer to a request that could not be made durable: its sender has to send all of it again."""
    headers = [*_wait(error.retry_after, tracker), *trackers.cors(asked.get(b"origin"))]
    problem = f"not stored, send all of it again in {error.retry_after} seconds: {error}"
    status = tracker.protocol.away if tracker is not None else 503
    return json_response(status, {"accepted": 0, "duplicates": 0, "refused": [], "problem": problem}, headers)


def too_large(limit: int, asked: dict[bytes, bytes], tracker: trackers.Tracker | None = None) -> Response:
    """Return the answer to a body of more than `limit` bytes, of a request with these headers."""
    refused = [Refusal(0, Reason.TOO_LARGE, f"a request may have {limit} bytes: send fewer events in each")]
    headers = _refusal_headers(refused, asked.get(b"origin"))
    if tracker is not None:
        return tracker.answer(0, 0, refused, headers)
    content = {"accepted": 0, "duplicates": 0, "refused": refused}
    return json_response(413, content, headers)


def _status(taken: int, refused: list[Refusal]) -> int:
    if taken:
        return 202
    return max((STATUS.get(refusal.reason, 400) for refusal in refused), default=400)


def _refusal_headers(refused: list[Refusal], origin: bytes | None) -> Headers:
    if not refused:
        return trackers.cors(origin)
    reasons = dict.fromkeys(str(refusal.reason) for refusal in refused)
    return [(b"x-footfall-refused", ",".join(reasons).encode()), *trackers.cors(origin)]



def _not_allowed(request: Request, methods: str) -> Response:
    response = text_response(405, f"{request.path} takes {methods}.\n")
    return _for_pages(request, response._replace(headers=[*response.headers, (b"allow", methods.encode())]))


def _for_pages(request: Request, response: Response) -> Response:
    """The response so that a page of another origin may read it, and its console does not speak of CORS instead."""
    origin = next((value for name, value in request.headers if name == b"origin"), None)
    return response if origin is None else response._replace(headers=[*response.headers, *trackers.cors(origin)])
