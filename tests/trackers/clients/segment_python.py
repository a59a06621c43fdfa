"""segment-analytics-python: a page view, a search, an event and an identify. Arguments: URL, write key."""

from __future__ import annotations

import sys

from segment.analytics import Client

url, key = sys.argv[1:3]
failed: list[object] = []
client = Client(key, host=url, on_error=lambda error, items: failed.append(error), gzip=True, upload_interval=0.2)
who = {"anonymous_id": "segment-python", "user_id": "user-1"}
page = {"url": "https://example.com/pricing?utm_source=mail", "title": "Pricing", "referrer": "https://r.example/"}
context = {"ip": "198.51.100.7", "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
client.page(**who, name="Pricing", properties=page, context=context)
client.track(**who, event="Products Searched", properties={"query": "shoes", "results": 3}, context=context)
client.track(**who, event="Signed Up", properties={"plan": "pro", "seats": 3}, context=context)
client.identify(**who, traits={"company": "Example"}, context=context)
client.shutdown()
assert not failed, failed
