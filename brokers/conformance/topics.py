"""Opening, closing and topics."""

from __future__ import annotations

from brokers import connect
from brokers.base import BrokerError, NoSuchTopic, Record, TopicPartition, Unreachable
from brokers.conformance.subject import DAY_MS, Sentences, Subject, numbered, numbers, raises, read_all

sentence = Sentences()


@sentence
def it_answers_a_ping_with_its_name(subject: Subject) -> None:
    assert subject.broker.ping(5.0)


@sentence
def nobody_there_is_unreachable_within_the_bound(subject: Subject) -> None:
    if subject.unreachable is None:
        return
    with raises(Unreachable, within=5.0):
        broker = connect(subject.unreachable, subject.secrets)
        try:
            broker.ping(2.0)
        finally:
            broker.close()


@sentence
def capabilities_have_a_line_of_prose(subject: Subject) -> None:
    for name in ("durable", "shared", "replication", "retention"):
        assert subject.broker.capabilities[name].note


@sentence
def closing_twice_is_harmless_and_a_closed_one_says_so(subject: Subject) -> None:
    other = subject.connect()
    other.ping(5.0)
    other.close()
    other.close()
    with raises(BrokerError, within=5):
        other.topics()


@sentence
def creating_a_topic_twice_is_harmless(subject: Subject) -> None:
    topic = subject.topic(3)
    subject.broker.publish(numbered(topic, 0, 1))
    subject.broker.create_topic(topic, 3)
    assert subject.broker.partitions(topic) == 3
    assert numbers(read_all(subject.broker, topic)) == [0]


@sentence
def another_partition_count_is_refused(subject: Subject) -> None:
    topic = subject.topic(3)
    with raises(ValueError):
        subject.broker.create_topic(topic, 4)
    assert subject.broker.partitions(topic) == 3


@sentence
def retention_is_set_changed_and_read_back(subject: Subject) -> None:
    topic = subject.topic(1, retention_ms=7 * DAY_MS)
    assert subject.broker.topics()[topic].retention_ms == 7 * DAY_MS
    subject.broker.create_topic(topic, 1, retention_ms=-1)
    assert subject.broker.topics()[topic].retention_ms == -1


@sentence
def a_topic_that_is_not_there_is_named(subject: Subject) -> None:
    for call in (
        lambda: subject.broker.partitions("conformance-none"),
        lambda: subject.broker.bounds(TopicPartition("conformance-none", 0)),
        lambda: subject.broker.publish([Record("conformance-none", b"k", b"v")]),
    ):
        with raises(NoSuchTopic) as caught:
            call()
        assert "conformance-none" in str(caught[0])
    assert "conformance-none" not in subject.broker.topics()


@sentence
def a_partition_that_is_not_there_is_refused(subject: Subject) -> None:
    topic = subject.topic(2)
    with raises(ValueError):
        subject.broker.publish([Record(topic, b"k", b"v", (), 2)])
    with raises(ValueError):
        subject.broker.bounds(TopicPartition(topic, 2))
