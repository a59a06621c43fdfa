"""Text answers leave compressed when the browser can read them so: the page is a quarter of its size then.

Only what is complete and text: a stream of lines must reach its reader as it comes, and a Parquet file gains
nothing. What is larger than `MOST` is an answer to SQL, whose reader is near and whose compression would hold
a thread for seconds.
"""

from __future__ import annotations

import gzip

from flask import Response, request

LEAST = 1_000
MOST = 4 << 20

_TEXT = frozenset(
    {"text/html", "text/css", "text/javascript", "application/json", "application/x-ndjson", "text/csv"}
    | {"text/tab-separated-values"}
)


def compress(response: Response) -> Response:
    if response.mimetype not in _TEXT:
        return response
    response.vary.add("Accept-Encoding")
    ours = request.endpoint == "static"
    if (
        not request.accept_encodings.quality("gzip")
        or response.status_code != 200
        or (response.is_streamed and not ours)
    ):
        return response
    response.direct_passthrough = False
    body = response.get_data()
    if LEAST <= len(body) <= MOST:
        response.set_data(gzip.compress(body, 5, mtime=0))
        response.content_encoding = "gzip"
        tag, _ = response.get_etag()
        if tag:
            response.set_etag(tag, weak=True)
    return response
