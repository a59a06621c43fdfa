"""The whole suite, by one import: `pip install .` in this folder, then `REDIS=host:port pytest`."""

import os

import pytest

from brokers.conformance import SENTENCES, Subject


@pytest.fixture(scope="module")
def subject():
    found = Subject(f"redis-lists://{os.environ['REDIS']}/0", unreachable="redis-lists://127.0.0.1:1/0")
    yield found
    found.close()


@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_conformance(sentence, subject):
    sentence(subject)
