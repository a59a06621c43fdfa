"""What every broker adapter has to do, a sentence each, one body for all of them.

    from brokers.conformance import SENTENCES, Subject

    @pytest.mark.parametrize("sentence", SENTENCES, ids=str)
    def test_conformance(sentence):
        sentence(subject)            # subject = Subject("mybroker://…", unreachable="mybroker://127.0.0.1:1")

or `python -m brokers.conformance URL` against a broker that runs somewhere. Nothing here needs pytest. Topics get
names of their own and are deleted again, so a shared cluster will do. `FAULTS` are the sentences for a broker of
one's own, which they kill and start again by `Subject.kill` and `Subject.start`.
"""

from brokers.conformance import faults, positions, publishing, reading, topics
from brokers.conformance.subject import Sentence, Subject, numbered, numbers, raises, read_all

SENTENCES: list[Sentence] = [
    sentence for part in (topics, publishing, reading, positions) for sentence in part.sentence.found
]
FAULTS: list[Sentence] = list(faults.sentence.found)

__all__ = ["FAULTS", "SENTENCES", "Sentence", "Subject", "numbered", "numbers", "raises", "read_all"]
