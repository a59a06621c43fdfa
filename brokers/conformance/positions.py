"""Positions: written down, remembered, and kept beyond the end of their log."""

from __future__ import annotations

import secrets as random
import time

from brokers.base import Gone, NoSuchTopic, Position, TopicPartition, WrongIncarnation
from brokers.conformance.subject import PATIENCE, Sentences, Subject, numbered, numbers, raises, read_all

sentence = Sentences()


@sentence
def positions_survive_writing_down_and_sort_like_the_log(subject: Subject) -> None:
    topic = subject.topic()
    for start in (0, 6, 12):
        subject.broker.publish(numbered(topic, start, 6))
    places = [record.position for record in read_all(subject.broker, topic)]
    again = [Position.parse(str(place)) for place in places]
    assert [(place.order, place.incarnation) for place in places] == [(p.order, p.incarnation) for p in again]
    assert sorted(sorted(again, key=str)) == places
    assert len(set(map(str, places))) == 18
    ranges = subject.broker.read_range(TopicPartition(topic, 0), again[4], again[9])
    found = [n for records in ranges for n in numbers(records)]
    assert found == [5, 6, 7, 8, 9]


@sentence
def what_a_group_remembers_another_connection_recalls(subject: Subject) -> None:
    topic, group = subject.topic(2), f"conformance-{random.token_hex(4)}"
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 5))
    places = [record.position for record in read_all(subject.broker, topic)]
    assert subject.broker.recall(group, log) is None
    for place in (places[1], places[3]):
        subject.broker.remember(group, log, place)
    with subject.another() as other:
        recalled = other.recall(group, log)
        assert recalled == places[3]
        assert recalled.incarnation == places[3].incarnation
        assert numbers(other.read_after(log, recalled)) == [4]
        assert other.recall(group, TopicPartition(topic, 1)) is None


@sentence
def two_groups_are_apart(subject: Subject) -> None:
    topic, group = subject.topic(), f"conformance-{random.token_hex(4)}"
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 5))
    places = [record.position for record in read_all(subject.broker, topic)]
    subject.broker.remember(group + "-a", log, places[0])
    subject.broker.remember(group + "-b", log, places[4])
    assert subject.broker.recall(group + "-a", log) == places[0]
    assert subject.broker.recall(group + "-b", log) == places[4]


@sentence
def what_retention_removed_is_gone_not_skipped(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    for start in range(0, 6, 2):
        subject.broker.publish(numbered(topic, start, 2))
        subject.seal(subject.broker, log)
    places = [record.position for record in read_all(subject.broker, topic)]
    subject.remove_before(subject.broker, log, places[4])
    assert subject.broker.bounds(log) == (places[4], places[5])
    assert numbers(read_all(subject.broker, topic)) == [4, 5]
    assert numbers(subject.broker.read_after(log, places[3])) == [4, 5]
    for call in (
        lambda: list(subject.broker.read_range(log, places[0], places[5])),
        lambda: list(subject.broker.read_range(log, None, places[1])),
        lambda: subject.broker.read_after(log, places[0]),
        lambda: subject.broker.end_before(log, places[0], 10),
        lambda: subject.broker.timestamp_of(log, places[0]),
    ):
        with raises(Gone):
            call()
    subject.remove_before(subject.broker, log, places[5])
    subject.broker.publish(numbered(topic, 6, 1))
    assert numbers(read_all(subject.broker, topic))[-1] == 6
    assert read_all(subject.broker, topic)[-1].position > places[5]


@sentence
def a_position_beyond_the_end_is_an_error_not_a_wait(subject: Subject) -> None:
    topic, longer = subject.topic(), subject.topic()
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 1))
    subject.broker.publish(numbered(longer, 0, 5))
    place = read_all(subject.broker, topic)[0].position
    beyond = Position(read_all(subject.broker, longer)[-1].position.order, place.incarnation)
    with raises(WrongIncarnation, within=5):
        subject.broker.read_after(log, beyond, wait=20)
    with raises(WrongIncarnation, within=5):
        list(subject.broker.read_range(log, place, beyond))


@sentence
def a_topic_made_again_refuses_old_positions(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 3))
    places = [record.position for record in read_all(subject.broker, topic)]
    subject.broker.delete_topic(topic)
    deadline = time.monotonic() + PATIENCE
    while topic in subject.broker.topics():
        assert time.monotonic() < deadline, "a deleted topic stays"
        time.sleep(0.02)
    with raises(NoSuchTopic):
        subject.broker.bounds(log)
    subject.broker.create_topic(topic, 1)
    subject.broker.publish(numbered(topic, 10, 3))
    assert numbers(read_all(subject.broker, topic)) == [10, 11, 12]
    for call in (
        lambda: list(subject.broker.read_range(log, places[0], places[2])),
        lambda: subject.broker.read_after(log, places[0]),
        lambda: subject.broker.end_before(log, places[0], 1),
        lambda: subject.broker.timestamp_of(log, places[0]),
        lambda: subject.broker.remember("conformance", log, places[0]),
    ):
        with raises(WrongIncarnation):
            call()
