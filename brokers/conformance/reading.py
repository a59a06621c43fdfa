"""Ranges, bounds, times and waiting."""

from __future__ import annotations

import threading
import time

from brokers.base import Stored, TopicPartition
from brokers.conformance.subject import (
    DAY_MS,
    PATIENCE,
    Sentences,
    Subject,
    after_this_millisecond,
    numbered,
    numbers,
    read_all,
)

sentence = Sentences()


@sentence
def batches_of_1_1_7_3_1_10_are_23_records(subject: Subject) -> None:
    topic, sent = subject.topic(), 0
    for count in (1, 1, 7, 3, 1, 10):
        subject.broker.publish(numbered(topic, sent, count))
        sent += count
        assert numbers(read_all(subject.broker, topic)) == list(range(sent))


@sentence
def lists_are_no_longer_than_asked_for(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 10))
    subject.broker.publish(numbered(topic, 10, 13))
    bounds = subject.broker.bounds(log)
    assert bounds
    lists = list(subject.broker.read_range(log, None, bounds.last, batch=4))
    assert max(map(len, lists)) <= 4
    assert all(lists)
    assert [number for records in lists for number in numbers(records)] == list(range(23))


@sentence
def a_range_is_what_follows_after_up_to_and_with_upto(subject: Subject) -> None:
    topic = subject.topic()
    for start in (0, 2, 5):
        subject.broker.publish(numbered(topic, start, 3 if start else 2))
    places = [record.position for record in read_all(subject.broker, topic)]
    assert len(places) == 8
    for upto in range(8):
        for after in range(-1, upto + 1):
            first = None if after < 0 else places[after]
            lists = subject.broker.read_range(TopicPartition(topic, 0), first, places[upto])
            assert [n for records in lists for n in numbers(records)] == list(range(after + 1, upto + 1))


@sentence
def an_empty_partition_has_no_bounds_and_no_records(subject: Subject) -> None:
    topic = subject.topic(2)
    subject.broker.publish(numbered(topic, 0, 1))
    assert subject.broker.bounds(TopicPartition(topic, 1)) is None
    assert subject.broker.end_before(TopicPartition(topic, 1), None, 10) is None
    assert subject.broker.position_at(TopicPartition(topic, 1), time.time_ns() // 1_000_000 + 1000) is None
    assert subject.broker.read_after(TopicPartition(topic, 1), None) == []


@sentence
def bounds_are_the_first_and_the_last_record(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 5))
    records = read_all(subject.broker, topic)
    assert numbers(records) == [0, 1, 2, 3, 4]
    assert subject.broker.bounds(log) == (records[0].position, records[-1].position)
    subject.broker.publish(numbered(topic, 5, 1))
    grown = read_all(subject.broker, topic)
    assert numbers(grown) == [0, 1, 2, 3, 4, 5]
    assert subject.broker.bounds(log) == (records[0].position, grown[-1].position)


@sentence
def end_before_walks_the_log_in_steps(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 3))
    subject.broker.publish(numbered(topic, 3, 8))
    after, steps = None, []
    while (upto := subject.broker.end_before(log, after, 4)) is not None:
        steps.append([n for records in subject.broker.read_range(log, after, upto) for n in numbers(records)])
        after = upto
    assert max(map(len, steps)) <= 4
    assert [number for step in steps for number in step] == list(range(11))


@sentence
def a_time_is_looked_up_before_inside_and_past_the_log(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    before = after_this_millisecond()
    subject.broker.publish(numbered(topic, 0, 2))
    inside = after_this_millisecond()
    subject.broker.publish(numbered(topic, 2, 3))
    past = after_this_millisecond()
    places = [record.position for record in read_all(subject.broker, topic)]
    assert subject.broker.position_at(log, before) is None
    assert subject.broker.position_at(log, inside) == places[1]
    assert subject.broker.position_at(log, past) == places[4]
    assert subject.broker.position_at(log, past + DAY_MS) == places[4]
    assert subject.broker.position_at(log, 0) is None


@sentence
def a_reader_waits_for_a_record_and_no_longer_than_told(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 1))
    last = read_all(subject.broker, topic)[-1].position
    start = time.monotonic()
    assert subject.broker.read_after(log, last, wait=0.2) == []
    assert time.monotonic() - start < 5
    found: list[Stored] = []
    reader = threading.Thread(target=lambda: found.extend(subject.broker.read_after(log, last, wait=PATIENCE)))
    reader.start()
    subject.broker.publish(numbered(topic, 1, 1))
    reader.join(PATIENCE + 5)
    assert numbers(found) == [1]


@sentence
def another_connection_reads_what_was_published(subject: Subject) -> None:
    topic = subject.topic()
    subject.broker.publish(numbered(topic, 0, 3))
    with subject.another() as other:
        assert numbers(read_all(other, topic)) == [0, 1, 2]
        other.publish(numbered(topic, 3, 1))
    assert numbers(read_all(subject.broker, topic)) == [0, 1, 2, 3]
