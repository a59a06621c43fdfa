"""What every broker adapter has to do, a sentence each, one body for all of them.

    from brokers.conformance import SENTENCES, Subject

    @pytest.mark.parametrize("sentence", SENTENCES, ids=str)
    def test_conformance(sentence):
        sentence(subject)            # subject = Subject("mybroker://…", unreachable="mybroker://127.0.0.1:1")

or `python -m brokers.conformance URL` against a broker that runs somewhere. Nothing here needs pytest. Topics get
names of their own and are deleted again, so a shared cluster will do.
"""

from __future__ import annotations

import hashlib
import secrets as random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from brokers import connect
from brokers.base import (
    Broker,
    BrokerError,
    Gone,
    NoSuchTopic,
    Position,
    Record,
    Stored,
    TooLarge,
    Unreachable,
    Unsupported,
    WrongIncarnation,
)

_DAY_MS = 86_400_000
_PATIENCE = 30.0  # seconds for what happens by itself, such as a deleted topic disappearing


def _remove_before(broker: Broker, topic: str, partition: int, position: Position) -> None:
    remove = getattr(broker, "remove_before", None)
    if remove is None:
        raise Unsupported("give the Subject a `remove_before`: no way is known to make this broker forget")
    remove(topic, partition, position)


@dataclass
class Subject:
    """A broker under test. `unreachable` is a URL of its kind where nobody answers."""

    url: str
    unreachable: str | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    remove_before: Callable[[Broker, str, int, Position], None] = _remove_before
    _broker: Broker | None = None
    _made: list[str] = field(default_factory=list)

    @property
    def broker(self) -> Broker:
        if self._broker is None:
            self._broker = self.connect()
        return self._broker

    def connect(self) -> Broker:
        return connect(self.url, self.secrets)

    @contextmanager
    def another(self) -> Iterator[Broker]:
        """A second connection to the same broker; the first one where the broker lives in its connection."""
        if not self.broker.capabilities["shared"].supported:
            yield self.broker
            return
        other = self.connect()
        try:
            yield other
        finally:
            other.close()

    def topic(self, partitions: int = 1, retention_ms: int = -1) -> str:
        name = f"conformance-{random.token_hex(6)}"
        self.broker.create_topic(name, partitions, retention_ms)
        self._made.append(name)
        return name

    def close(self) -> None:
        """Delete what the sentences made."""
        for name in self._made:
            try:
                self.broker.delete_topic(name)
            except NoSuchTopic:
                continue
        self._made.clear()
        self.broker.close()


@dataclass(frozen=True)
class Sentence:
    """A named check; raises AssertionError where the broker does otherwise."""

    text: str
    check: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        self.check(subject)

    def __str__(self) -> str:
        return self.text


SENTENCES: list[Sentence] = []


def _sentence(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
    SENTENCES.append(Sentence(check.__name__, check))
    return check


@contextmanager
def raises(kind: type[BaseException], within: float = _PATIENCE) -> Iterator[list[BaseException]]:
    """The block raises `kind`, within so many seconds, and says something."""
    caught: list[BaseException] = []
    start = time.monotonic()
    try:
        yield caught
    except kind as error:
        caught.append(error)
    assert caught, f"{kind.__name__} was not raised"
    assert str(caught[0]), f"{kind.__name__} says nothing"
    assert time.monotonic() - start <= within, f"{kind.__name__} took {time.monotonic() - start:.1f} s"


def numbered(topic: str, start: int, count: int, partition: int | None = 0) -> list[Record]:
    return [Record(topic, b"key", b"%d" % number, (), partition) for number in range(start, start + count)]


def read_all(broker: Broker, topic: str, partition: int = 0, batch: int = 10_000) -> list[Stored]:
    bounds = broker.bounds(topic, partition)
    if bounds is None:
        return []
    return [record for records in broker.read_range(topic, partition, None, bounds.last, batch) for record in records]


def _numbers(records: list[Stored]) -> list[int]:
    return [int(record.value or b"-1") for record in records]


def _after_this_millisecond() -> int:
    """A time in ms that is later than everything published so far and not later than what comes next."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= now + 1:
        time.sleep(0.0005)
    return now + 1


@_sentence
def it_answers_a_ping_with_its_name(subject: Subject) -> None:
    assert subject.broker.ping(5.0)


@_sentence
def nobody_there_is_unreachable_within_the_bound(subject: Subject) -> None:
    if subject.unreachable is None:
        return
    with raises(Unreachable, within=5.0):
        broker = connect(subject.unreachable, subject.secrets)
        try:
            broker.ping(2.0)
        finally:
            broker.close()


@_sentence
def creating_a_topic_twice_is_harmless(subject: Subject) -> None:
    topic = subject.topic(3)
    subject.broker.publish(numbered(topic, 0, 1))
    subject.broker.create_topic(topic, 3)
    assert subject.broker.partitions(topic) == 3
    assert _numbers(read_all(subject.broker, topic)) == [0]


@_sentence
def another_partition_count_is_refused(subject: Subject) -> None:
    topic = subject.topic(3)
    with raises(ValueError):
        subject.broker.create_topic(topic, 4)
    assert subject.broker.partitions(topic) == 3


@_sentence
def retention_is_set_changed_and_read_back(subject: Subject) -> None:
    topic = subject.topic(1, retention_ms=7 * _DAY_MS)
    assert subject.broker.topics()[topic].retention_ms == 7 * _DAY_MS
    subject.broker.create_topic(topic, 1, retention_ms=-1)
    assert subject.broker.topics()[topic].retention_ms == -1


@_sentence
def a_topic_that_is_not_there_is_named(subject: Subject) -> None:
    for ask in (
        lambda: subject.broker.partitions("conformance-none"),
        lambda: subject.broker.bounds("conformance-none", 0),
        lambda: subject.broker.publish([Record("conformance-none", b"k", b"v")]),
    ):
        with raises(NoSuchTopic) as caught:
            ask()
        assert "conformance-none" in str(caught[0])
    assert "conformance-none" not in subject.broker.topics()


@_sentence
def a_partition_that_is_not_there_is_refused(subject: Subject) -> None:
    topic = subject.topic(2)
    with raises(ValueError):
        subject.broker.publish([Record(topic, b"k", b"v", (), 2)])
    with raises(ValueError):
        subject.broker.bounds(topic, 2)


# SHA-256 of the partition numbers, a byte each, that Kafka's clients compute for `golden_keys` and 12 partitions.
GOLDEN = "8c20dde628a776cf98c9ebbd31db4ed18d4a53ffbbacf585884d057107568e21"


def golden_keys() -> list[bytes]:
    """3,000 keys of several lengths, a third of them beyond ASCII."""
    return [(f"site-{n % 7}.example/{n:016x}" if n % 3 else f"ключ-{n}").encode() for n in range(3000)]


@_sentence
def three_thousand_keys_lie_where_the_golden_table_says(subject: Subject) -> None:
    topic = subject.topic(12)
    subject.broker.publish([Record(topic, key, b"") for key in golden_keys()])
    found: dict[bytes | None, int] = {}
    for partition in range(12):
        found.update((record.key, partition) for record in read_all(subject.broker, topic, partition))
    table = bytes(found[key] for key in golden_keys())
    assert hashlib.sha256(table).hexdigest() == GOLDEN


@_sentence
def batches_of_1_1_7_3_1_10_are_23_records(subject: Subject) -> None:
    topic, sent = subject.topic(), 0
    for count in (1, 1, 7, 3, 1, 10):
        subject.broker.publish(numbered(topic, sent, count))
        sent += count
        assert _numbers(read_all(subject.broker, topic)) == list(range(sent))


@_sentence
def lists_are_no_longer_than_asked_for(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish(numbered(topic, 0, 10))
    subject.broker.publish(numbered(topic, 10, 13))
    bounds = subject.broker.bounds(topic, 0)
    assert bounds
    lists = list(subject.broker.read_range(topic, 0, None, bounds.last, batch=4))
    assert max(map(len, lists)) <= 4
    assert all(lists)
    assert [number for records in lists for number in _numbers(records)] == list(range(23))


@_sentence
def a_range_is_what_follows_after_up_to_and_with_upto(subject: Subject) -> None:
    topic = subject.topic()
    for start in (0, 2, 5):
        subject.broker.publish(numbered(topic, start, 3 if start else 2))
    places = [record.position for record in read_all(subject.broker, topic)]
    assert len(places) == 8
    for upto in range(8):
        for after in range(-1, upto + 1):
            first = None if after < 0 else places[after]
            lists = subject.broker.read_range(topic, 0, first, places[upto])
            assert [n for records in lists for n in _numbers(records)] == list(range(after + 1, upto + 1))


@_sentence
def an_empty_partition_has_no_bounds_and_no_records(subject: Subject) -> None:
    topic = subject.topic(2)
    subject.broker.publish(numbered(topic, 0, 1))
    assert subject.broker.bounds(topic, 1) is None
    assert subject.broker.end_before(topic, 1, None, 10) is None
    assert subject.broker.position_at(topic, 1, time.time_ns() // 1_000_000 + 1000) is None
    assert subject.broker.read_after(topic, 1, None) == []


@_sentence
def bounds_are_the_first_and_the_last_record(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish(numbered(topic, 0, 5))
    records = read_all(subject.broker, topic)
    assert subject.broker.bounds(topic, 0) == (records[0].position, records[-1].position)
    subject.broker.publish(numbered(topic, 5, 1))
    grown = subject.broker.bounds(topic, 0)
    assert grown and grown.first == records[0].position and grown.last > records[-1].position


@_sentence
def positions_survive_writing_down_and_sort_like_the_log(subject: Subject) -> None:
    topic = subject.topic()
    for start in (0, 6, 12):
        subject.broker.publish(numbered(topic, start, 6))
    places = [record.position for record in read_all(subject.broker, topic)]
    again = [Position.parse(str(place)) for place in places]
    assert [(place.order, place.incarnation) for place in places] == [(p.order, p.incarnation) for p in again]
    assert sorted(sorted(again, key=str)) == places
    assert len(set(map(str, places))) == 18
    found = [n for records in subject.broker.read_range(topic, 0, again[4], again[9]) for n in _numbers(records)]
    assert found == [5, 6, 7, 8, 9]


@_sentence
def end_before_walks_the_log_in_steps(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish(numbered(topic, 0, 3))
    subject.broker.publish(numbered(topic, 3, 8))
    after, steps = None, []
    while (upto := subject.broker.end_before(topic, 0, after, 4)) is not None:
        steps.append([n for records in subject.broker.read_range(topic, 0, after, upto) for n in _numbers(records)])
        after = upto
    assert max(map(len, steps)) <= 4
    assert [number for step in steps for number in step] == list(range(11))


@_sentence
def a_time_is_looked_up_before_inside_and_past_the_log(subject: Subject) -> None:
    topic = subject.topic()
    before = _after_this_millisecond()
    subject.broker.publish(numbered(topic, 0, 2))
    inside = _after_this_millisecond()
    subject.broker.publish(numbered(topic, 2, 3))
    past = _after_this_millisecond()
    places = [record.position for record in read_all(subject.broker, topic)]
    assert subject.broker.position_at(topic, 0, before) is None
    assert subject.broker.position_at(topic, 0, inside) == places[1]
    assert subject.broker.position_at(topic, 0, past) == places[4]
    assert subject.broker.position_at(topic, 0, past + _DAY_MS) == places[4]
    assert subject.broker.position_at(topic, 0, 0) is None


@_sentence
def a_record_is_stamped_when_it_is_published(subject: Subject) -> None:
    topic = subject.topic()
    before = _after_this_millisecond()
    for start in range(3):
        subject.broker.publish(numbered(topic, start, 1))
    after = _after_this_millisecond()
    records = read_all(subject.broker, topic)
    stamps = [record.timestamp for record in records]
    assert before <= stamps[0] and stamps == sorted(stamps) and stamps[-1] <= after
    assert [subject.broker.timestamp_of(topic, 0, record.position) for record in records] == stamps


@_sentence
def one_publish_writes_to_several_topics(subject: Subject) -> None:
    first, second = subject.topic(), subject.topic(2)
    subject.broker.publish([*numbered(first, 0, 2), *numbered(second, 0, 3, 1), *numbered(first, 2, 1)])
    assert _numbers(read_all(subject.broker, first)) == [0, 1, 2]
    assert _numbers(read_all(subject.broker, second, 1)) == [0, 1, 2]


@_sentence
def publishing_nothing_is_nothing(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish([])
    assert subject.broker.bounds(topic, 0) is None


@_sentence
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


@_sentence
def records_without_a_key_are_spread(subject: Subject) -> None:
    topic = subject.topic(4)
    subject.broker.publish([Record(topic, None, b"v") for _ in range(400)])
    assert [len(read_all(subject.broker, topic, partition)) for partition in range(4)] == [100] * 4


@_sentence
def a_record_of_900_000_bytes_is_kept(subject: Subject) -> None:
    topic = subject.topic()
    value = random.token_bytes(900_000)
    subject.broker.publish([Record(topic, b"big", value, (), 0)])
    assert read_all(subject.broker, topic)[0].value == value


@_sentence
def a_record_too_large_is_named_and_its_neighbours_are_kept(subject: Subject) -> None:
    topic = subject.topic()
    records = numbered(topic, 0, 5)
    for index in (1, 3):
        records[index] = records[index]._replace(value=random.token_bytes(2_000_000))
    with raises(TooLarge) as caught:
        subject.broker.publish(records)
    assert isinstance(caught[0], TooLarge)
    assert caught[0].indexes == (1, 3)
    assert _numbers(read_all(subject.broker, topic)) == [0, 2, 4]


@_sentence
def a_reader_waits_for_a_record_and_no_longer_than_told(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish(numbered(topic, 0, 1))
    last = read_all(subject.broker, topic)[-1].position
    start = time.monotonic()
    assert subject.broker.read_after(topic, 0, last, wait=0.2) == []
    assert time.monotonic() - start < 5
    found: list[Stored] = []
    reader = threading.Thread(target=lambda: found.extend(subject.broker.read_after(topic, 0, last, wait=_PATIENCE)))
    reader.start()
    subject.broker.publish(numbered(topic, 1, 1))
    reader.join(_PATIENCE + 5)
    assert _numbers(found) == [1]


@_sentence
def another_connection_reads_what_was_published(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish(numbered(topic, 0, 3))
    with subject.another() as other:
        assert _numbers(read_all(other, topic)) == [0, 1, 2]
        other.publish(numbered(topic, 3, 1))
    assert _numbers(read_all(subject.broker, topic)) == [0, 1, 2, 3]


@_sentence
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
            by_key.setdefault(record.key, []).extend(_numbers([record]))
    for writer in range(8):
        assert by_key.pop(b"writer-%d" % writer) == list(range(60))
    assert not by_key


@_sentence
def what_a_group_remembers_another_connection_recalls(subject: Subject) -> None:
    topic, group = subject.topic(2), f"conformance-{random.token_hex(4)}"
    subject.broker.publish(numbered(topic, 0, 5))
    places = [record.position for record in read_all(subject.broker, topic)]
    assert subject.broker.recall(group, topic, 0) is None
    for place in (places[1], places[3]):
        subject.broker.remember(group, topic, 0, place)
    with subject.another() as other:
        recalled = other.recall(group, topic, 0)
        assert recalled == places[3]
        assert recalled.incarnation == places[3].incarnation
        assert _numbers(other.read_after(topic, 0, recalled)) == [4]
        assert other.recall(group, topic, 1) is None


@_sentence
def two_groups_are_apart(subject: Subject) -> None:
    topic, group = subject.topic(), f"conformance-{random.token_hex(4)}"
    subject.broker.publish(numbered(topic, 0, 5))
    places = [record.position for record in read_all(subject.broker, topic)]
    subject.broker.remember(group + "-a", topic, 0, places[0])
    subject.broker.remember(group + "-b", topic, 0, places[4])
    assert subject.broker.recall(group + "-a", topic, 0) == places[0]
    assert subject.broker.recall(group + "-b", topic, 0) == places[4]


@_sentence
def what_retention_removed_is_gone_not_skipped(subject: Subject) -> None:
    topic = subject.topic()
    for start in range(0, 6, 2):
        subject.broker.publish(numbered(topic, start, 2))
    places = [record.position for record in read_all(subject.broker, topic)]
    subject.remove_before(subject.broker, topic, 0, places[4])
    assert subject.broker.bounds(topic, 0) == (places[4], places[5])
    assert _numbers(read_all(subject.broker, topic)) == [4, 5]
    assert _numbers(subject.broker.read_after(topic, 0, places[3])) == [4, 5]
    for ask in (
        lambda: list(subject.broker.read_range(topic, 0, places[0], places[5])),
        lambda: list(subject.broker.read_range(topic, 0, None, places[1])),
        lambda: subject.broker.read_after(topic, 0, places[0]),
        lambda: subject.broker.end_before(topic, 0, places[0], 10),
        lambda: subject.broker.timestamp_of(topic, 0, places[0]),
    ):
        with raises(Gone):
            ask()
    subject.remove_before(subject.broker, topic, 0, places[5])
    subject.broker.publish(numbered(topic, 6, 1))
    assert _numbers(read_all(subject.broker, topic))[-1] == 6
    assert read_all(subject.broker, topic)[-1].position > places[5]


@_sentence
def a_position_beyond_the_end_is_an_error_not_a_wait(subject: Subject) -> None:
    topic, longer = subject.topic(), subject.topic()
    subject.broker.publish(numbered(topic, 0, 1))
    subject.broker.publish(numbered(longer, 0, 5))
    place = read_all(subject.broker, topic)[0].position
    beyond = Position(read_all(subject.broker, longer)[-1].position.order, place.incarnation)
    with raises(WrongIncarnation, within=5):
        subject.broker.read_after(topic, 0, beyond, wait=20)
    with raises(WrongIncarnation, within=5):
        list(subject.broker.read_range(topic, 0, place, beyond))


@_sentence
def a_topic_made_again_refuses_old_positions(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish(numbered(topic, 0, 3))
    places = [record.position for record in read_all(subject.broker, topic)]
    subject.broker.delete_topic(topic)
    deadline = time.monotonic() + _PATIENCE
    while topic in subject.broker.topics():
        assert time.monotonic() < deadline, "a deleted topic stays"
        time.sleep(0.02)
    with raises(NoSuchTopic):
        subject.broker.bounds(topic, 0)
    subject.broker.create_topic(topic, 1)
    subject.broker.publish(numbered(topic, 10, 3))
    assert _numbers(read_all(subject.broker, topic)) == [10, 11, 12]
    for ask in (
        lambda: list(subject.broker.read_range(topic, 0, places[0], places[2])),
        lambda: subject.broker.read_after(topic, 0, places[0]),
        lambda: subject.broker.end_before(topic, 0, places[0], 1),
        lambda: subject.broker.timestamp_of(topic, 0, places[0]),
        lambda: subject.broker.remember("conformance", topic, 0, places[0]),
    ):
        with raises(WrongIncarnation):
            ask()


@_sentence
def closing_twice_is_harmless_and_a_closed_one_says_so(subject: Subject) -> None:
    other = subject.connect()
    other.ping(5.0)
    other.close()
    other.close()
    with raises(BrokerError, within=5):
        other.topics()


@_sentence
def capabilities_have_a_line_of_prose(subject: Subject) -> None:
    for name in ("durable", "shared", "replication", "retention"):
        assert subject.broker.capabilities[name].note


def main(arguments: list[str]) -> int:
    """Run every sentence against the broker at the URL given; 1 when one does not hold."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m brokers.conformance URL\n")
        return 2
    subject = Subject(arguments[0])
    broken = 0
    try:
        sys.stdout.write(f"{subject.broker.url}: {subject.broker.ping()}\n")
        for sentence in SENTENCES:
            start = time.monotonic()
            try:
                sentence(subject)
                outcome = "ok"
            except (AssertionError, BrokerError) as error:
                broken += 1
                outcome = f"FAILED {type(error).__name__}: {error}"
            sys.stdout.write(f"{time.monotonic() - start:6.2f} s  {sentence}: {outcome}\n")
    finally:
        subject.close()
    sys.stdout.write(f"{len(SENTENCES) - broken} of {len(SENTENCES)} hold\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
