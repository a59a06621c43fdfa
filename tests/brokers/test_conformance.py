"""Every sentence of the suite against every adapter; Kafka is a real one, by both client libraries and each profile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from brokers.conformance import SENTENCES, Sentence, Subject


def test_the_suite_is_whole() -> None:
    assert len(SENTENCES) >= 25
    assert len({str(sentence) for sentence in SENTENCES}) == len(SENTENCES)


@pytest.fixture(
    scope="module",
    params=[
        "memory",
        "sqlite",
        pytest.param("kafka://{}?client=confluent", marks=pytest.mark.real),
        pytest.param("kafka://{}?client=kafka-python", marks=pytest.mark.real),
        # What Redpanda and WarpStream advise, on Apache Kafka: their own products are not to be had here.
        pytest.param("redpanda://{}", marks=pytest.mark.real),
        pytest.param("warpstream://{}?zone=a", marks=pytest.mark.real),
    ],
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    if request.param == "memory":
        found = Subject("memory://")
    elif request.param == "sqlite":
        folder = tmp_path_factory.mktemp("log")
        (folder / "a-file").touch()
        found = Subject(f"sqlite://{folder}/log.db", unreachable=f"sqlite://{folder}/a-file/log.db")
    else:
        kafka = request.getfixturevalue("kafka")
        found = Subject(request.param.format(kafka), unreachable=request.param.format("127.0.0.1:1"))
    yield found
    found.close()


@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_conformance(sentence: Sentence, subject: Subject) -> None:
    sentence(subject)
