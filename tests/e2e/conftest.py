"""`start`: `footfall up` on the test's own data folder, ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Up

Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(*arguments, env=…)`; a second call in a test is a next start on the same folder."""
    started: list[Up] = []

    def begin(*arguments: str, **options: Any) -> Up:
        started.append(Up(tmp_path / "data", *arguments, **options))
        return started[-1]

    yield begin
    for up in started:
        up.end()
