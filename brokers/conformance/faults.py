"""The broker dies without warning and comes back: what was acknowledged is there, what was not may be there twice."""

from __future__ import annotations

import secrets as random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from brokers.base import BrokerError, Record, TopicPartition, Unreachable, Unsent
from brokers.conformance.subject import PATIENCE, Sentences, Subject, numbered, numbers, raises, read_all

sentence = Sentences()


@sentence
def gone_in_flight_is_named_within_the_bound_and_comes_back_by_itself(subject: Subject) -> None:
    topic = subject.topic()
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 3))
    last = read_all(subject.broker, topic)[-1].position
    subject.kill()
    try:
        with raises(BrokerError) as caught:
            subject.broker.publish(numbered(topic, 3, 3))
        assert isinstance(caught[0], Unreachable | Unsent)
        with raises(Unreachable):
            subject.broker.bounds(log)
        with raises(Unreachable):
            subject.broker.read_after(log, last, wait=0.1)
    finally:
        subject.start()
    # The same connection, and nothing was acknowledged but the first three.
    subject.broker.publish(numbered(topic, 6, 3))
    found = numbers(read_all(subject.broker, topic))
    assert found[:3] == [0, 1, 2]
    assert found[-3:] == [6, 7, 8]
    assert [number for number in found[3:-3] if number not in (3, 4, 5)] == []


@sentence
def writers_lose_nothing_while_it_restarts(subject: Subject) -> None:
    topic, writers, count, step = subject.topic(4), 4, 600, 5
    halfway = threading.Barrier(writers + 1, timeout=PATIENCE)
    failures: list[int] = []

    def write(writer: int) -> None:
        for start in range(0, count, step):
            if start == count // 4:
                halfway.wait()
            batch = [Record(topic, b"writer-%d" % writer, b"%d" % n) for n in range(start, start + step)]
            deadline = time.monotonic() + 4 * PATIENCE
            while batch:
                try:
                    subject.broker.publish(batch)
                    break
                except Unsent as error:
                    # From the first that is not durable on, so that the order per key is kept.
                    batch = batch[min(error.indexes) :]
                except Unreachable:
                    pass
                failures.append(writer)
                assert time.monotonic() < deadline, "it answers no publish any more"
                time.sleep(0.05)

    with ThreadPoolExecutor(writers) as pool:
        working = [pool.submit(write, writer) for writer in range(writers)]
        halfway.wait()
        subject.kill()
        subject.start()
        for each in working:
            each.result()
    by_key: dict[bytes | None, list[int]] = {}
    for partition in range(4):
        for record in read_all(subject.broker, topic, partition):
            by_key.setdefault(record.key, []).extend(numbers([record]))
    for writer in range(writers):
        assert list(dict.fromkeys(by_key.pop(b"writer-%d" % writer))) == list(range(count))
    assert not by_key


@sentence
def a_reader_that_died_repeats_rather_than_loses(subject: Subject) -> None:
    topic, group = subject.topic(), f"conformance-{random.token_hex(4)}"
    log = TopicPartition(topic, 0)
    subject.broker.publish(numbered(topic, 0, 10))
    with subject.another() as reader:
        seen = reader.read_after(log, None)
        reader.remember(group, log, seen[3].position)
        assert numbers(seen) == list(range(10))
    subject.kill()
    subject.start()
    with subject.another() as reader:
        again = reader.recall(group, log)
        assert again == seen[3].position
        assert numbers(reader.read_after(log, again)) == [4, 5, 6, 7, 8, 9]
