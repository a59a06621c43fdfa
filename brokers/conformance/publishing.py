"""What is published comes back whole, in order, where it belongs."""

from __future__ import annotations

import hashlib
import secrets as random
from concurrent.futures import ThreadPoolExecutor

from brokers.base import Record, TooLarge, TopicPartition
from brokers.conformance.subject import Sentences, Subject, after_this_millisecond, numbered, numbers, raises, read_all

sentence = Sentences()

# SHA-256 of the partition numbers, a byte each, that Kafka's clients compute for `golden_keys` and 12 partitions.
GOLDEN = "8c20dde628a776cf98c9ebbd31db4ed18d4a53ffbbacf585884d057107568e21"


def golden_keys() -> list[bytes]:
    """3,000 keys of several lengths, a third of them beyond ASCII."""
    return [(f"site-{n % 7}.example/{n:016x}" if n % 3 else f"ключ-{n}").encode() for n in range(3000)]


@sentence
def three_thousand_keys_lie_where_the_golden_table_says(subject: Subject) -> None:
    topic = subject.topic(12)
    subject.broker.publish([Record(topic, key, b"") for key in golden_keys()])
    found: dict[bytes | None, int] = {}
    for partition in range(12):
        found.update((record.key, partition) for record in read_all(subject.broker, topic, partition))
    table = bytes(found[key] for key in golden_keys())
    assert hashlib.sha256(table).hexdigest() == GOLDEN


@sentence
def one_publish_writes_to_several_topics(subject: Subject) -> None:
    first, second = subject.topic(), subject.topic(2)
    subject.broker.publish([*numbered(first, 0, 2), *numbered(second, 0, 3, 1), *numbered(first, 2, 1)])
    assert numbers(read_all(subject.broker, first)) == [0, 1, 2]
    assert numbers(read_all(subject.broker, second, 1)) == [0, 1, 2]


@sentence
def publishing_nothing_is_nothing(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish([])
    assert subject.broker.bounds(TopicPartition(topic, 0)) is None


@sentence
def keys_values_and_headers_come_back_as_they_were(subject: Subject) -> None:
    topic = subject.topic()
    records = [
        Record(topic, None, b"no key", (), 0),
        Record(topic, b"", b"", (), 0),
        Record(topic, b"no value", None, (), 0),
        Record(topic, "ключ".encode(), "日本 \U0001f600".encode(), (("名", "値".encode()), ("empty", b"")), 0),
        Record(topic, bytes(range(256)), bytes(range(255, -1, -1)), (("twice", b"1"), ("twice", b"2")), 0),
    ]
    subject.broker.publish(records)
    found = read_all(subject.broker, topic)
    assert [(r.key, r.value, r.headers) for r in found] == [(r.key, r.value, r.headers) for r in records]


@sentence
def records_without_a_key_are_spread(subject: Subject) -> None:
    topic = subject.topic(4)
    subject.broker.publish([Record(topic, None, b"v") for _ in range(400)])
    assert [len(read_all(subject.broker, topic, partition)) for partition in range(4)] == [100] * 4


@sentence
def a_record_of_900_000_bytes_is_kept(subject: Subject) -> None:
    topic = subject.topic()
    value = random.token_bytes(900_000)
    subject.broker.publish([Record(topic, b"big", value, (), 0)])
    assert read_all(subject.broker, topic)[0].value == value


@sentence
def a_record_too_large_is_named_and_its_neighbours_are_kept(subject: Subject) -> None:
    topic = subject.topic()
    records = numbered(topic, 0, 5)
    for index in (1, 3):
        records[index] = records[index]._replace(value=random.token_bytes(2_000_000))
    with raises(TooLarge) as caught:
        subject.broker.publish(records)
    assert isinstance(caught[0], TooLarge)
    assert caught[0].indexes == (1, 3)
    assert numbers(read_all(subject.broker, topic)) == [0, 2, 4]


@sentence
def a_record_is_stamped_when_it_is_published(subject: Subject) -> None:
    topic = subject.topic()
    before = after_this_millisecond()
    for start in range(3):
        subject.broker.publish(numbered(topic, start, 1))
    after = after_this_millisecond()
    records = read_all(subject.broker, topic)
    stamps = [record.timestamp for record in records]
    assert before <= stamps[0] and stamps == sorted(stamps) and stamps[-1] <= after
    assert [subject.broker.timestamp_of(TopicPartition(topic, 0), record.position) for record in records] == stamps


@sentence
def order_holds_per_key_under_many_writers(subject: Subject) -> None:
    topic = subject.topic(4)

    def write(writer: int) -> None:
        for start in range(0, 60, 3):
            subject.broker.publish(
                [Record(topic, b"writer-%d" % writer, b"%d" % number) for number in range(start, start + 3)]
            )

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(write, range(8)):
            pass  # a writer's error is raised here
    by_key: dict[bytes | None, list[int]] = {}
    for partition in range(4):
        for record in read_all(subject.broker, topic, partition):
            by_key.setdefault(record.key, []).extend(numbers([record]))
    for writer in range(8):
        assert by_key.pop(b"writer-%d" % writer) == list(range(60))
    assert not by_key
