"""posthog_python.py URL KEY [v1]: what PostHog's Python client sends; it sends again by itself what failed."""

from __future__ import annotations

import sys

from posthog import Posthog

url, key, *mode = sys.argv[1:]
failed: list[object] = []

client = Posthog(
    key,
    host=url,
    gzip=True,
    flush_at=100,
    on_error=lambda error, batch: failed.append(error),
    capture_mode=mode[0] if mode else "v0",
)
page = {"$current_url": "https://example.com/shop?utm_source=letter", "title": "Shop"}
client.capture("$pageview", distinct_id="user-1", properties={**page, "$referrer": "https://search.example/"})
client.capture("search", distinct_id="user-1", properties={**page, "query": "red hat", "results": 3})
client.capture("signed_up", distinct_id="user-1", properties={**page, "plan": "pro", "seats": 3, "tags": ["a", "b"]})
client.set(distinct_id="user-1", properties={"plan": "pro"})
client.shutdown()
assert not failed, failed
sys.stdout.write("sent\n")
