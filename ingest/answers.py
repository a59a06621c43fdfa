"""What a sender is told: numbers and refusals in words, in the body and in a header.

202 when at least one event was taken or had been before; otherwise the highest status among the refusals. A
page of any origin may read the answer, which tells it nothing but what became of its own events: which origins
may *send* is the site's rule, and refused as such.
"""

from __future__ import annotations

from activity.refusal import STATUS, Reason, Refusal
from ingest import assets
from ingest.collect import Collected
from ingest.counters import Counters
from ingest.http import Headers, Response, json_response
from ingest.outbox import Unavailable, Verdict

_ANY_ORIGIN: Headers = [(b"access-control-allow-origin", b"*")]
_EXPOSED: Headers = [(b"access-control-expose-headers", b"x-footfall-refused, retry-after")]
_ONE = Response(
    202,
    [(b"content-type", b"application/json"), (b"content-length", b"42"), *_ANY_ORIGIN],
    b'{"accepted":1,"duplicates":0,"refused":[]}',
)


def answer(collected: Collected, verdicts: list[Verdict], counters: Counters) -> Response:
    """The answer once every entry has its verdict. Counts what it tells."""
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
    named = _named(refused)
    if collected.retry_after:
        named = [(b"retry-after", b"%d" % collected.retry_after), *named]
    if collected.pixel:
        return assets.pixel(named)
    if accepted == 1 and not duplicates and not refused:
        return _ONE
    content = {"accepted": accepted, "duplicates": duplicates, "refused": refused}
    return json_response(_status(accepted + duplicates, refused), content, named)


def unavailable(error: Unavailable) -> Response:
    """Nothing of the request is promised: the sender keeps all of it and comes again."""
    headers = [(b"retry-after", b"%d" % error.retry_after), *_ANY_ORIGIN, *_EXPOSED]
    problem = f"not stored, send all of it again in {error.retry_after} seconds: {error}"
    return json_response(503, {"accepted": 0, "duplicates": 0, "refused": [], "problem": problem}, headers)


def too_large(limit: int) -> Response:
    refused = [Refusal(0, Reason.TOO_LARGE, f"a request may have {limit} bytes: send fewer events in each")]
    content = {"accepted": 0, "duplicates": 0, "refused": refused}
    return json_response(413, content, _named(refused))


def preflight() -> Response:
    return Response(
        204,
        [
            *_ANY_ORIGIN,
            (b"access-control-allow-methods", b"POST, OPTIONS"),
            (b"access-control-allow-headers", b"authorization, content-type, content-encoding"),
            (b"access-control-max-age", b"86400"),
        ],
    )


def _status(taken: int, refused: list[Refusal]) -> int:
    if taken:
        return 202
    return max((STATUS.get(refusal.reason, 400) for refusal in refused), default=400)


def _named(refused: list[Refusal]) -> Headers:
    if not refused:
        return _ANY_ORIGIN
    reasons = dict.fromkeys(str(refusal.reason) for refusal in refused)
    return [(b"x-footfall-refused", ",".join(reasons).encode()), *_ANY_ORIGIN, *_EXPOSED]
