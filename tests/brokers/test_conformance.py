"""Every sentence of the suite against every adapter; Kafka is a real one, by both client libraries."""

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
        pytest.param("confluent", marks=pytest.mark.real),
        pytest.param("kafka-python", marks=pytest.mark.real),
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
        options = f"client={request.param}"
        found = Subject(
            f"kafka://{request.getfixturevalue('kafka')}?{options}", unreachable=f"kafka://127.0.0.1:1?{options}"
        )
    yield found
    found.close()


@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_conformance(sentence: Sentence, subject: Subject) -> None:
    sentence(subject)
