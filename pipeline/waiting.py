"""Where the frames of a run wait to be grouped: in memory, or in files where a run may be of any size."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import polars as pl

from stores.base import Unusable


class Waiting(Protocol):
    """Where a run's frames wait, by names of its own."""

    def put(self, frame: pl.DataFrame) -> str: ...

    def take(self, names: Iterable[str]) -> pl.DataFrame:
        """The frames one after the other; they no longer wait."""

    def close(self) -> None:
        """Forget what waits."""


class InMemory:
    def __init__(self) -> None:
        self._frames: dict[str, pl.DataFrame] = {}
        self._numbers = itertools.count()

    def put(self, frame: pl.DataFrame) -> str:
        name = str(next(self._numbers))
        self._frames[name] = frame
        return name

    def take(self, names: Iterable[str]) -> pl.DataFrame:
        return pl.concat([self._frames.pop(name) for name in names])

    def close(self) -> None:
        self._frames.clear()


class InFiles:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="footfall-")
        self._numbers = itertools.count()

    def put(self, frame: pl.DataFrame) -> str:
        path = Path(self._folder.name) / f"{next(self._numbers)}.arrow"
        try:
            frame.write_ipc(path)
        except OSError as error:
            raise Unusable(f"{path.parent}: {error}: make room, or name another folder by TMPDIR") from error
        return str(path)

    def take(self, names: Iterable[str]) -> pl.DataFrame:
        paths = [Path(name) for name in names]
        frame = pl.scan_ipc(paths).collect().rechunk()  # texts are found twice as fast in one piece
        for path in paths:
            path.unlink()
        return frame

    def close(self) -> None:
        self._folder.cleanup()
