"""Every sentence of the suite against a real Pulsar, in a namespace that the adapter makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from brokers.conformance import SENTENCES, Sentence, Subject
from tests.servers import pulsar as part

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def subject(pulsar: str) -> Iterator[Subject]:
    unreachable = "pulsar://127.0.0.1:1?admin=http://127.0.0.1:1"
    found = Subject(part.url(pulsar, "public/conformance"), unreachable=unreachable)
    yield found
    found.close()


@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_conformance(sentence: Sentence, subject: Subject) -> None:
    sentence(subject)
