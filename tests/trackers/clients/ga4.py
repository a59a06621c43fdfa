"""ga4.py URL KEY [SECRET]: what `ga4mp` sends by the Measurement Protocol, and sends again until it was answered."""

from __future__ import annotations

import sys
import time
from http.client import RemoteDisconnected
from urllib.error import URLError

from ga4mp import GtagMP

url, key, *secret = sys.argv[1:]
client = GtagMP(api_secret=secret[0] if secret else "none", measurement_id=key, client_id="")
client.client_id = client.random_client_id()
client._base_domain = f"{url}/mp/collect"
client.store.set_user_property("user_id", "user-1")
client.store.set_user_property("plan", "pro")
page = {"page_location": "https://example.com/shop?utm_source=letter", "page_title": "Shop"}
client.send(
    [
        {"name": "page_view", "params": {**page, "page_referrer": "https://search.example/"}},
        {"name": "search", "params": {**page, "search_term": "red hat", "number_of_results": 3}},
        {"name": "signed_up", "params": {**page, "plan": "pro", "seats": 3}},
    ],
    postpone=True,
)
deadline = time.monotonic() + 50
while True:
    try:
        client.postponed_send()
        break
    except (RemoteDisconnected, URLError):
        assert time.monotonic() < deadline
sys.stdout.write("sent\n")
