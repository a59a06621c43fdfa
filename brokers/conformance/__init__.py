"""The conformance suite: what every broker adapter has to do, a sentence each, with one body for all adapters.

    from brokers.conformance import SENTENCES, Subject

    @pytest.mark.parametrize("sentence", SENTENCES, ids=str)
    def test_conformance(sentence):
        sentence(subject)            # subject = Subject("mybroker://…", unreachable="mybroker://127.0.0.1:1")

or `python -m brokers.conformance URL` against a running broker. Nothing here needs pytest. Topics get unique names and
are deleted afterwards, so a shared cluster will do. The sentences in `FAULTS` kill the broker and start it again, by
`Subject.kill` and `Subject.start`.
"""

from brokers.conformance import faults, positions, publishing, reading, topics
from brokers.conformance.subject import Sentence, Subject, numbered, numbers, raises, read_all

SENTENCES: list[Sentence] = [
    sentence for part in (topics, publishing, reading, positions) for sentence in part.sentence.found
]
FAULTS: list[Sentence] = list(faults.sentence.found)

__all__ = ["FAULTS", "SENTENCES", "Sentence", "Subject", "numbered", "numbers", "raises", "read_all"]
