"""`python -m tests.servers.table`: run the conformance suite on every broker that runs here and write what each passes.

The table goes to docs/conformance.md, its last row to the README between its two marks. Each run is a process of its
own, because a broker that answers wrongly enough ends the client library's. Takes some minutes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from brokers.conformance import SENTENCES
from tests.servers.conformance import urls
from tests.servers.process import ROOT

TABLE = ROOT / "docs" / "conformance.md"
README = ROOT / "README.md"
MARKS = ("<!-- what each broker passes -->", "<!-- end -->")
# A column's title, the part or URL, and which of the part's URLs (one a client library).
COLUMNS: dict[str, tuple[str, int]] = {
    "memory": ("memory://", 0),
    "SQLite": ("sqlite://", 0),
    "Kafka 4.1": ("kafka", 0),
    "Kafka 4.1, kafka-python": ("kafka", 1),
    "Pulsar 4.0": ("pulsar", 0),
    "Kafka protocol without a disk (Tansu 0.6)": ("diskless", 0),
}
_LINE = re.compile(r"^ *[\d.]+ s  (\w+): (ok|FAILED)", re.MULTILINE)
_SECONDS = 600.0

Outcomes = Mapping[str, bool]  # by sentence; one that is not there ended the process, or came after it


def run(url: str) -> Outcomes:
    """The sentences that were run against `url`, and whether each holds."""
    command = [sys.executable, "-m", "brokers.conformance", url, "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd=ROOT)
    found = {text: outcome == "ok" for text, outcome in _LINE.findall(done.stdout)}
    if not found:
        raise RuntimeError(f"nothing was run against {url}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found


def markdown(results: Mapping[str, Outcomes]) -> str:
    """The table: a row a sentence, a column a broker."""
    lines = [
        "# What each broker passes",
        "",
        "Written by `python -m tests.servers.table` from a run on real ones. A sentence is a test of",
        "[brokers/conformance](../brokers/conformance); its name says what it asks. What the diskless one answers",
        "wrongly is told in [test_diskless.py](../tests/brokers/kafka/test_diskless.py). Redpanda and WarpStream have",
        "no column: their binaries were not run here (see [brokers.md](brokers.md)).",
        "",
        _row("sentence", *results),
        _row("---", *["---"] * len(results)),
    ]
    lines += [
        _row(sentence.replace("_", " "), *(_mark(held.get(sentence)) for held in results.values()))
        for sentence in map(str, SENTENCES)
    ]
    lines.append(_row("**of all**", *totals(results).values()))
    return "\n".join(lines) + "\n"


def totals(results: Mapping[str, Outcomes]) -> dict[str, str]:
    return {name: f"{sum(held.values())} of {len(SENTENCES)}" for name, held in results.items()}


def summary(table: str) -> str:
    """The README's: a broker a row, out of the whole table."""
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    brokers = zip(rows[0][1:], rows[-1][1:], strict=True)
    return "\n".join([_row("broker", "sentences that hold"), _row("---", "---"), *(_row(*pair) for pair in brokers)])


def into_readme(text: str, table: str) -> str:
    """The README with the summary between its marks; as it was where it has none."""
    before, mark, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    return f"{before}{mark}\n{summary(table)}\n{end}{after}" if mark and end else text


def _mark(held: bool | None) -> str:
    return {True: "yes", False: "no", None: "ends the client"}[held]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"


def main() -> int:
    results: dict[str, Outcomes] = {}
    with tempfile.TemporaryDirectory(prefix="table-") as folder:
        for title, (name, which) in COLUMNS.items():
            with urls(f"sqlite://{folder}/log.db" if name == "sqlite://" else name) as found:
                results[title] = run(found[which])
            sys.stdout.write(f"{title}: {totals(results)[title]}\n")
    table = markdown(results)
    TABLE.write_text(table, encoding="utf-8")
    README.write_text(into_readme(README.read_text(encoding="utf-8"), table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
