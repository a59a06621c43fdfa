"""Steps for graphs that run in other processes, which import them by name; and a graph of them.

`python -m tests.pipeline.travelling URL JOB sums FOLDER` (or `URL JOB raises NAME`) runs it on a runner and says in
JSON how it ended, for tests of a runner that only another process reaches.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.portability.api import beam_runner_api_pb2

from brokers.base import Unreachable, Unsent
from pipeline import portable
from pipeline.workers import Command
from stores.base import Unreadable

KEYS = 8


class Lines(beam.DoFn):
    """A file to (key, number) for each line, and to a note of the process that read it.

    It waits at each file until `wait` is gone, so that a test can do something in the middle."""

    def __init__(self, seen: str, wait: str) -> None:
        self.seen = seen
        self.wait = wait
        self.lines = Metrics.counter("lines", "read")

    def process(self, path: str) -> Iterator[tuple[int, int]]:
        (Path(self.seen) / f"{Path(path).stem}.{os.getpid()}").touch()
        while Path(self.wait).exists():
            time.sleep(0.02)
        for line in Path(path).read_text().split():
            self.lines.inc()
            yield int(line) % KEYS, int(line)


class Sums(beam.DoFn):
    """(key, numbers) to a file of the key with their count and sum: the same file however often it is written."""

    def __init__(self, into: str) -> None:
        self.into = into

    def process(self, element: tuple[int, Iterable[int]]) -> Iterator[int]:
        key, numbers = element
        found = list(numbers)
        partial = Path(self.into) / f".{key}.{os.getpid()}"
        partial.write_text(f"{len(found)} {sum(found)}")
        partial.rename(Path(self.into) / str(key))
        yield key


class Raises(beam.DoFn):
    """Raises the error of a name."""

    def process(self, name: str) -> Iterator[str]:
        if name == "unreachable":
            raise Unreachable("kafka://h:1 does not answer:\ntry again")
        if name == "unsent":
            raise Unsent("2 records are not durable", [3, 4])
        if name == "unreadable":
            raise Unreadable("/x/y", "it is cut off", "replay its days")
        if name == "killed":
            os.kill(os.getpid(), 9)
        raise ZeroDivisionError(f"no step knows {name}")
        yield name


class SumFiles(beam.PTransform):
    """The files of a folder, grouped into `KEYS` sums in `into`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.files = sorted(str(path) for path in (folder / "in").iterdir())
        self.seen, self.into, self.wait = str(folder / "seen"), str(folder / "out"), str(folder / "wait")

    def expand(self, begin: beam.Pipeline) -> beam.PCollection:
        return (
            begin
            | beam.Create(self.files, reshuffle=True)
            | "Lines" >> beam.ParDo(Lines(self.seen, self.wait)).with_output_types(tuple[int, int])
            | "Group" >> beam.GroupByKey()
            | "Sums" >> beam.ParDo(Sums(self.into)).with_output_types(int)
        )


def prepare(folder: Path, files: int = 8, lines: int = 5_000) -> dict[str, str]:
    """Write the files of a graph of `SumFiles`; returns what `sums` is to find."""
    for name in ("in", "seen", "out"):
        (folder / name).mkdir(parents=True)
    for number in range(files):
        text = "\n".join(str(number * lines + line) for line in range(lines))
        (folder / "in" / f"{number:03}").write_text(text)
    everything = range(files * lines)
    return {str(key): f"{len(everything[key::KEYS])} {sum(everything[key::KEYS])}" for key in range(KEYS)}


def sums(folder: Path) -> dict[str, str]:
    """What the graph wrote."""
    return {path.name: path.read_text() for path in (folder / "out").iterdir() if not path.name.startswith(".")}


def readers(folder: Path) -> set[int]:
    """The processes that read files of the graph."""
    return {int(path.name.partition(".")[2]) for path in (folder / "seen").iterdir()}


def raising(name: str) -> beam_runner_api_pb2.Pipeline:
    """A graph whose one step raises, see `Raises`."""
    return portable.compile_graph(lambda begin: begin | beam.Create([name]) | beam.ParDo(Raises()))


def summing(folder: Path) -> beam_runner_api_pb2.Pipeline:
    """A graph of `SumFiles`."""
    return portable.compile_graph(lambda begin: begin | SumFiles(folder))


def command() -> Command:
    """A worker that finds modules where this process does, and has no settings of its own."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 (resolves no link)
    return Command([sys.executable, "-c", f"import sys; sys.path = {path}; from pipeline.workers import work; work()"])


def main(url: str, job: str, what: str, subject: str) -> None:
    runner = portable.executor(url, command())
    graph = raising(subject) if what == "raises" else summing(Path(subject))
    began = time.monotonic()
    try:
        answer: dict[str, object] = {"counters": runner.execute(graph, job)}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    finally:
        runner.close()
    answer["seconds"] = round(time.monotonic() - began, 2)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
