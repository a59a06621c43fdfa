"""What a run of the tests makes once, though several processes share its tests: a server, a package, an idle topic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.servers.process import locked


class Once:
    """`once("kafka", start)`: the text that `start` returned, such as an address, whichever process asks first.

    Another process waits for it meanwhile. What `start` puts into the folder that it is given stays for the run."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared

    def __call__(self, name: str, make: Callable[[Path], str]) -> str:
        answer = self.shared / name / "answer"
        with locked(answer.parent):
            if not answer.exists():
                folder = self.folder(name)
                folder.mkdir(exist_ok=True)
                answer.write_text(make(folder), encoding="utf-8")
            return answer.read_text(encoding="utf-8")

    def undo(self, name: str, end: Callable[[Path], object]) -> None:
        """End what was made, if it was; who asks next makes it anew."""
        answer = self.shared / name / "answer"
        with locked(answer.parent):
            if answer.exists():
                end(self.folder(name))
                answer.unlink()

    def folder(self, name: str) -> Path:
        """Where `name` was made, if it was."""
        return self.shared / name / "made"
