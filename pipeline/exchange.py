"""Where the frames of a run wait: those to be grouped, while Beam shuffles their names, and those for its driver.

As elements of a shuffle, frames would be encoded, copied by each buffer on the way and decoded again, which is half
of what a run over a hundred thousand events costs; and an engine bounds how large the values of one key may be. So a
step writes a frame to the exchange, Beam shuffles its name, and the step behind the grouping reads it.

An engine may do a piece of work twice, after a worker died or because one is slow. So every `write` has a name of its
own, a read leaves the frame where it is, and a staged frame goes under a name that follows from the plan, where the
second one replaces the first. The driver clears the exchange after its commit.
"""

from __future__ import annotations

import io
import itertools
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import polars as pl

from activity import columns
from stores import backends
from stores.backends import Bucket, Location, parse_location
from stores.base import StoreUnreachable, Unusable

_STAGED = "staged/"
_HELD = 64 << 20  # bytes of frames that a run keeps in memory


class Exchange(Protocol):
    """Frames by name. Every method raises `Unusable` or `StoreUnreachable` when the place does not take or give."""

    def write(self, frame: pl.DataFrame) -> str:
        """Keep a frame under a new name; returns the name."""

    def read(self, names: Iterable[str]) -> pl.DataFrame:
        """The named frames, one after the other, as one."""

    def stage(self, name: str, frame: pl.DataFrame) -> None:
        """Keep a frame under a given name, `SINK/BLOCK`, in the place of one that has it."""

    def staged(self, sink: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """The (block, frame)s that are staged for a sink, by block, one read at a time."""

    def clear(self) -> None:
        """Forget every frame."""


def connect_exchange(url: str) -> Exchange:
    """`""` for the memory of this process, a folder, or `s3://bucket/prefix[?endpoint=URL]`.

    Raises `Unusable` for any other URL, or one that cannot be opened."""
    if not url:
        return MemoryExchange()
    place = parse_location(url)
    match place.scheme:
        case "file":
            return FolderExchange(place.folder)
        case "s3":
            return BucketExchange(place)
    raise Unusable(f"{place.safe_url}: frames are exchanged in a folder (file:///path) or in s3://bucket/prefix")


class MemoryExchange:
    """An `Exchange` in the memory of this process, for runs whose driver bounds their size."""

    def __init__(self) -> None:
        self._frames: dict[str, pl.DataFrame] = {}
        self._staged: dict[str, dict[str, pl.DataFrame]] = {}
        self._numbers = itertools.count()

    def write(self, frame: pl.DataFrame) -> str:
        """Keep a frame; returns its name."""
        name = str(next(self._numbers))
        self._frames[name] = frame
        return name

    def read(self, names: Iterable[str]) -> pl.DataFrame:
        """The named frames as one."""
        return columns.joined([self._frames[name] for name in names])

    def stage(self, name: str, frame: pl.DataFrame) -> None:
        """Keep a frame for the driver."""
        sink, _, block = name.partition("/")
        self._staged.setdefault(sink, {})[block] = frame

    def staged(self, sink: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """The frames of a sink, by block."""
        yield from sorted(self._staged.get(sink, {}).items(), key=lambda item: _order(item[0]))

    def clear(self) -> None:
        """Drop every frame."""
        self._frames.clear()
        self._staged.clear()


class FolderExchange:
    """An `Exchange` in Arrow files of one folder, which several machines may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, frame: pl.DataFrame) -> str:
        """Write a frame to a file; returns the name."""
        name = f"{uuid.uuid4().hex}.arrow"
        self._write(self._folder / name, frame)
        return name

    def read(self, names: Iterable[str]) -> pl.DataFrame:
        """The named frames as one."""
        paths = [self._folder / name for name in names]
        try:
            return self._joined(paths).rechunk()  # texts are found twice as fast in one piece
        except OSError as error:
            raise Unusable(f"{self._folder}: {error}: a frame of this run is gone") from error

    def stage(self, name: str, frame: pl.DataFrame) -> None:
        """Write a frame beside the file of this name and move it there, so that a reader finds it whole."""
        path = self._folder / _STAGED / f"{name}.arrow"
        aside = path.with_name(f"{uuid.uuid4().hex}.partial")
        self._write(aside, frame)
        aside.replace(path)

    def staged(self, sink: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """The frames of a sink, by block."""
        for path in sorted((self._folder / _STAGED / sink).glob("*.arrow"), key=lambda path: _order(path.stem)):
            yield path.stem, pl.read_ipc(path)

    def clear(self) -> None:
        """Delete the folder; the next frame makes it again."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _joined(self, paths: list[Path]) -> pl.DataFrame:
        return columns.joined([pl.read_ipc(path) for path in paths])

    def _write(self, path: Path, frame: pl.DataFrame) -> None:
        backends.make_folder(path.parent)
        try:
            frame.write_ipc(path)
        except OSError as error:
            raise Unusable(f"{path.parent}: {error}: make room, or name another folder") from error


class TemporaryExchange(FolderExchange):
    """An `Exchange` in a folder that only this process uses: for a run of any size without workers elsewhere.

    The first frames stay in memory, and only what a large run has beyond goes to files. These have `pl.Categorical`
    columns as bare ids, since with their dictionaries they take twice as long to write. Polars knows what an id means
    as long as some such column is there, so the exchange keeps one."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="footfall-")
        super().__init__(Path(self._temporary.name))
        self._ids = pl.DataFrame()  # the columns of every frame that are ids, without rows
        self._room = _HELD
        self._held: dict[str, pl.DataFrame] = {}
        self._lock = threading.Lock()

    def write(self, frame: pl.DataFrame) -> str:
        """Keep a frame; returns its name. All frames of a run have the same columns."""
        size = int(frame.estimated_size())
        with self._lock:
            if size <= self._room:
                self._room -= size
                name = uuid.uuid4().hex
                self._held[name] = frame
                return name
            if not self._ids.width:
                self._ids = frame.select(pl.col(pl.Categorical)).clear()
        return super().write(frame.with_columns(pl.col(self._ids.columns).to_physical()))

    def read(self, names: Iterable[str]) -> pl.DataFrame:
        """The named frames as one, which are kept no longer, since a run within one process repeats nothing."""
        parts: list[pl.DataFrame] = []
        for is_held, some in itertools.groupby(names, self._held.__contains__):
            group = list(some)
            parts += map(self._held.pop, group) if is_held else [self._from_files(group)]
        return parts[0] if len(parts) == 1 else pl.concat(parts).rechunk()

    def _from_files(self, names: list[str]) -> pl.DataFrame:
        frame = super().read(names).with_columns(pl.col(self._ids.columns).cat.to(pl.Categorical))
        for name in names:
            (self._folder / name).unlink()
        return frame

    def _joined(self, paths: list[Path]) -> pl.DataFrame:
        return pl.scan_ipc(paths).collect()

    def clear(self) -> None:
        """Drop every frame, and delete the folder."""
        self._held.clear()
        self._temporary.cleanup()


class BucketExchange:
    """An `Exchange` in objects of a bucket."""

    def __init__(self, place: Location) -> None:
        self._bucket = Bucket(place)
        self._url = place.safe_url

    def write(self, frame: pl.DataFrame) -> str:
        """Write a frame to an object; returns the name."""
        name = f"{uuid.uuid4().hex}.arrow"
        self._bucket.put(name, _encoded(frame))
        return name

    def read(self, names: Iterable[str]) -> pl.DataFrame:
        """The named frames as one."""
        return columns.joined([self._get(name) for name in names]).rechunk()

    def stage(self, name: str, frame: pl.DataFrame) -> None:
        """Write a frame to the object of this name."""
        self._bucket.put(f"{_STAGED}{name}.arrow", _encoded(frame))

    def staged(self, sink: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """The frames of a sink, by block."""
        prefix = f"{_STAGED}{sink}/"
        blocks = [key.removeprefix(prefix).removesuffix(".arrow") for key in self._bucket.keys(prefix)]
        for block in sorted(blocks, key=_order):
            yield block, self._get(f"{prefix}{block}.arrow")

    def clear(self) -> None:
        """Delete every object."""
        for key in self._bucket.keys(""):
            self._bucket.delete(key)

    def _get(self, name: str) -> pl.DataFrame:
        found = self._bucket.get(name)
        if found is None:
            raise StoreUnreachable(f"{self._url}: {name} is gone; another driver may have cleared it: run again")
        return pl.read_ipc(io.BytesIO(found[0]))


def _encoded(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_ipc(out, compression="zstd")
    return out.getvalue()


def _order(block: str) -> tuple[int, str]:
    """Sorts blocks as the numbers that they are."""
    return (int(block), "") if block.isdigit() else (0, block)
