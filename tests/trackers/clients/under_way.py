"""under_way.py CLIENT URL KEY SITE: page views by a vendor's client until its input ends, and what it believes of them.

Their addresses are numbered from 0. The client sends again by itself what failed, as its makers have set it."""

from __future__ import annotations

import itertools
import json
import select
import sys
import time
from collections.abc import Callable

client, url, key, site = sys.argv[1:]
Track = Callable[[int], None]


def page(number: int) -> str:
    return f"https://{site}/{number}"


def numbers(addresses: list[str]) -> list[int]:
    return [int(address.rpartition("/")[2]) for address in addresses]


def segment() -> tuple[Track, Callable[[int], list[int]]]:
    from segment.analytics import Client

    failed: list[str] = []
    sender = Client(
        key,
        host=url,
        gzip=True,
        upload_interval=0.2,
        on_error=lambda _, items: failed.extend(item["properties"]["url"] for item in items),
    )

    def track(number: int) -> None:
        sender.page(anonymous_id=f"visitor-{number % 7}", properties={"url": page(number)})

    def answered(sent: int) -> list[int]:
        sender.flush()
        sender.shutdown()
        return sorted(set(range(sent)) - set(numbers(failed)))

    return track, answered


def posthog() -> tuple[Track, Callable[[int], list[int]]]:
    from posthog import Posthog

    failed: list[str] = []
    sender = Posthog(
        key,
        host=url,
        flush_at=10,
        flush_interval=0.2,
        on_error=lambda _, batch: failed.extend(event["properties"]["$current_url"] for event in batch),
    )

    def track(number: int) -> None:
        sender.capture("$pageview", distinct_id=f"visitor-{number % 7}", properties={"$current_url": page(number)})

    def answered(sent: int) -> list[int]:
        sender.flush()
        sender.shutdown()
        return sorted(set(range(sent)) - set(numbers(failed)))

    return track, answered


def snowplow() -> tuple[Track, Callable[[int], list[int]]]:
    from snowplow_tracker import EmitterConfiguration, PageView, Snowplow, Subject

    delivered: list[dict[str, str]] = []
    tracker = Snowplow.create_tracker(
        namespace="test",
        endpoint=url,
        app_id=key,
        emitter_config=EmitterConfiguration(batch_size=10, on_success=delivered.extend),
    )
    tracker.emitters[0].max_retry_delay_seconds = 1
    subjects = [Subject().set_domain_user_id(f"visitor-{number}") for number in range(7)]

    def track(number: int) -> None:
        tracker.track(PageView(page(number), event_subject=subjects[number % 7]))

    def answered(sent: int) -> list[int]:
        deadline = time.monotonic() + 15
        while len(delivered) < sent and time.monotonic() < deadline:
            tracker.flush()
            time.sleep(0.2)
        return sorted(numbers([event["url"] for event in delivered]))

    return track, answered


track, answered = {"segment": segment, "posthog": posthog, "snowplow": snowplow}[client]()
sent = 0
for sent in itertools.count():
    if select.select([sys.stdin], [], [], 0.02)[0]:
        break
    track(sent)
json.dump({"sent": sent, "answered": answered(sent)}, sys.stdout)
