"""rudder-sdk-python: a page view, a search, an event and an identify. Arguments: URL, write key."""

from __future__ import annotations

import sys

from rudderstack.analytics.client import Client

url, key = sys.argv[1:3]
failed: list[object] = []
client = Client(key, host=url, on_error=lambda error, items: failed.append(error), upload_interval=0.2)
who = {"anonymous_id": "rudder-python", "user_id": "user-1"}
page = {"url": "https://example.com/pricing?utm_source=mail", "title": "Pricing", "referrer": "https://r.example/"}
client.page(**who, name="Pricing", properties=page)
client.track(**who, event="Products Searched", properties={"query": "shoes", "results": 3})
client.track(**who, event="Signed Up", properties={"plan": "pro", "seats": 3})
client.identify(**who, traits={"company": "Example"})
client.shutdown()
assert not failed, failed
