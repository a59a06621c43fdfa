"""snowplow.py URL KEY [get|plain]: what Snowplow's Python tracker sends, with its own collector's paths."""

from __future__ import annotations

import sys
import time
import uuid

from snowplow_tracker import (
    EmitterConfiguration,
    PagePing,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    Snowplow,
    StructuredEvent,
    Subject,
    TrackerConfiguration,
)

url, key, *how = sys.argv[1:]
delivered: list[dict[str, object]] = []

subject = Subject()
subject.set_domain_user_id(str(uuid.uuid4()))
subject.set_lang("de-DE")
subject.set_screen_resolution(1280, 720)
tracker = Snowplow.create_tracker(
    namespace="test",
    endpoint=url,
    method="get" if "get" in how else "post",
    app_id=key,
    subject=subject,
    tracker_config=TrackerConfiguration(encode_base64="plain" not in how),
    emitter_config=EmitterConfiguration(
        batch_size=1 if "get" in how else 10, on_success=delivered.extend
    ),
)

tracker.emitters[0].max_retry_delay_seconds = 0  # its waits would be all that the tests spend their time with


def described(schema: str, data: dict[str, object]) -> SelfDescribing:
    return SelfDescribing(SelfDescribingJson(f"iglu:{schema}/jsonschema/1-0-0", data))


def wait_for(count: int) -> None:
    """The emitter sends again by itself."""
    deadline = time.monotonic() + 50
    while len(delivered) < count:
        assert time.monotonic() < deadline, f"{len(delivered)} of {count} events were delivered"
        time.sleep(0.02)


page = {"page_url": "https://example.com/shop?utm_source=letter", "page_title": "Shop"}
events = [
    PageView(**page, referrer="https://search.example/"),
    described("com.snowplowanalytics.snowplow/site_search", {"terms": ["red", "hat"], "totalResults": 3}),
    StructuredEvent(category="cart", action="add", label="hat", property_="size", value=9.5),
    described("com.acme/signed_up", {"plan": "pro", "seats": 3, "tags": ["a", "b"]}),
    PagePing(**page, max_y=700),
]
for number, event in enumerate(events, 1):
    if number == 4:
        subject.set_user_id("user-1")
    tracker.track(event)
    if "get" in how:  # of several that failed, this tracker forgets those before one that did not
        wait_for(number)
tracker.flush()
wait_for(len(events))
sys.stdout.write(f"{len(delivered)} delivered\n")
