"""Files and their manifest, in a folder and on S3 (moto's server), read back by ours and by others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.dataset as ds
import pytest

import stores
from stores import backends
from stores.archive import COLUMNS, ParquetArchive, file_path
from stores.backends import parse_location
from stores.base import Archive, ArchivedFile, Conflict, Unreadable, Unusable
from tests.stores import frames

HOUR_MS = 3_600_000


@pytest.fixture(params=["folder", "s3"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    url = f"{tmp_path}/archive" if request.param == "folder" else request.getfixturevalue("s3_url")
    opened = stores.connect_archive(url)
    yield opened
    opened.close()


def published(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        topic=pl.lit("footfall." + "pageview"),
        partition=pl.lit(1, dtype=pl.Int32),
        position=pl.int_range(pl.len()).cast(pl.String),
        published_at=pl.col("received_at") + 1,
    ).select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())


def flush(archive: Archive, frame: pl.DataFrame, ranges: str) -> list[ArchivedFile]:
    """The files of one flush: one for each site, type and hour of receipt."""
    hours = frame.with_columns(hour=pl.col("received_at") // HOUR_MS * HOUR_MS)
    written = []
    for (site, kind, hour), part in hours.group_by("site", "type", "hour"):
        path = file_path(str(site), str(kind), int(hour), "0", ranges)
        stats = archive.write(path, part.drop("hour").to_arrow())
        occurred, received = part["occurred_at"].to_list(), part["received_at"].to_list()
        date, hour_of_day = path.split("/")[2].removeprefix("date="), int(path.split("/")[3].removeprefix("hour="))
        written.append(
            ArchivedFile(
                path,
                str(site),
                str(kind),
                date,
                hour_of_day,
                "0",
                stats.rows,
                stats.bytes,
                stats.sha256,
                min(occurred),
                max(occurred),
                min(received),
                max(received),
            )
        )
    return written


def contents(archive: Archive, entries: list[ArchivedFile]) -> pl.DataFrame:
    return pl.concat([archive.read(entry.path, entry=entry) for entry in entries])


def test_what_is_committed_comes_back_by_the_time_it_occurred(archive: Archive) -> None:
    given = published(frames.events(400))
    entries = flush(archive, given, "a")
    assert archive.manifest().entries == []
    positions = {"footfall.pageview": {"0": "41", "1": "12.3@x"}}
    version = archive.commit(None, entries, positions)
    assert archive.committed() == (positions, version)
    found = archive.manifest()
    assert sorted(entry.path for entry in entries) == [entry.path for entry in found.entries]
    back = contents(archive, found.entries)
    assert back.schema == pl.Schema(COLUMNS)
    assert frames.same(given, back)
    start, end = frames.START + frames.DAY_MS, frames.START + frames.DAY_MS + 2 * HOUR_MS
    some = archive.manifest(start, end).entries
    assert 0 < len(some) < len(found.entries)
    wanted = given.filter(pl.col("occurred_at").is_between(start, end, closed="left"))
    kept = contents(archive, some).filter(pl.col("occurred_at").is_between(start, end, closed="left"))
    assert frames.same(wanted, kept)


def test_commits_add_replace_and_remove(archive: Archive) -> None:
    first = flush(archive, published(frames.events(60, seed=1)), "a")
    second = flush(archive, published(frames.events(60, seed=2)), "b")
    version = archive.commit(None, first, {"t": {"0": "1"}})
    version = archive.commit(version, [*second, *first[:2]], {"t": {"0": "2"}})
    assert len(archive.manifest().entries) == len(first) + len(second)
    archive.commit(version, [], {"t": {"0": "2"}}, remove=[entry.path for entry in first])
    assert [entry.path for entry in archive.manifest().entries] == sorted(entry.path for entry in second)


def test_of_two_commits_one_loses_and_leaves_nothing(archive: Archive) -> None:
    first = flush(archive, published(frames.events(40, seed=1)), "a")
    second = flush(archive, published(frames.events(40, seed=2)), "b")
    version = archive.commit(None, first, {"t": {"0": "1"}})
    with pytest.raises(Conflict, match="read it again"):
        archive.commit(None, second, {"t": {"0": "9"}})
    assert archive.committed() == ({"t": {"0": "1"}}, version)
    assert len(archive.manifest().entries) == len(first)


def test_the_same_flush_again_gives_the_same_files(archive: Archive) -> None:
    given = published(frames.events(60))
    first, second = ({entry.path: entry for entry in flush(archive, given, "a")} for _ in range(2))
    assert first == second


def test_some_columns_only(archive: Archive) -> None:
    entry = flush(archive, published(frames.events(50, days=1)), "a")[0]
    assert archive.read(entry.path, ["path", "visitor"]).columns == ["path", "visitor"]
    with pytest.raises(Unreadable, match="has no column colour"):
        archive.read(entry.path, ["colour"])


def test_a_file_that_changed_or_went_is_named(tmp_path: Path) -> None:
    archive = stores.connect_archive(str(tmp_path))
    entry = flush(archive, published(frames.events(50, days=1)), "a")[0]
    stored = tmp_path / entry.path
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-8] + b"\0" * 8)
    with pytest.raises(Unreadable, match="checksum is not that of the manifest; `footfall archive check") as caught:
        archive.read(entry.path, entry=entry)
    assert caught.value.path == entry.path
    with pytest.raises(Unreadable, match="it is no whole Parquet file"):
        archive.read(entry.path)
    stored.write_bytes(whole[:100])
    with pytest.raises(Unreadable, match=f"it has 100 bytes, the manifest says {entry.bytes}"):
        archive.read(entry.path, entry=entry)
    stored.unlink()
    with pytest.raises(Unreadable, match="No such file"):
        archive.read(entry.path, entry=entry)


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    archive = stores.connect_archive(str(tmp_path))
    archive.commit(None, flush(archive, published(frames.events(50, days=1)), "a"), {})
    head = tmp_path / "_manifest" / "head.json"
    head.write_bytes(head.read_bytes()[:-5])
    with pytest.raises(Unreadable, match=r"head\.json: it is no manifest"):
        archive.manifest()


def test_an_index_is_made_again_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = ParquetArchive(parse_location(str(tmp_path)))
    entries = flush(archive, published(frames.events(50, days=1)), "a")
    archive.commit(None, entries, {})
    (tmp_path / "_manifest" / "head.json").write_bytes(b"not even a value")
    write_file, seen = backends.write_file, 0

    def write(path: Path, data: bytes) -> None:
        nonlocal seen
        with pytest.raises(Unreadable):  # so no flush takes the archive for a new one
            archive.committed()
        seen += 1
        write_file(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(backends, "write_file", write)
        archive.index.put_index(lambda _: {"t": {"0": "7"}})
    assert seen == 2
    assert archive.manifest()[:2] == (sorted(entries, key=lambda entry: entry.path), {"t": {"0": "7"}})
    assert [path.read_bytes() for path in tmp_path.glob("_manifest/damaged/*")] == [b"not even a value"]


def test_all_files_of_a_site_are_listed(archive: Archive) -> None:
    written = flush(archive, published(frames.events(50, days=1)), "a")
    for site in {entry.site for entry in written}:
        assert archive.of_site(site) == sorted(entry.path for entry in written if entry.site == site)
    assert archive.of_site("nobody.example") == []


def test_others_read_the_folder(tmp_path: Path) -> None:
    archive = stores.connect_archive(str(tmp_path))
    given = published(frames.events(100))
    archive.commit(None, flush(archive, given, "a"), {})
    table = ds.dataset(tmp_path, format="parquet", exclude_invalid_files=True).to_table(columns=["id_lo", "path"])
    assert sorted(table["id_lo"].to_pylist()) == sorted(given["id_lo"].to_list())
    one = next(tmp_path.glob("site=a.example/type=*/date=*/hour=*/*.parquet"))
    assert pl.read_parquet(io.BytesIO(one.read_bytes())).schema == pl.Schema(COLUMNS)


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "_manifest/head.json"])
def test_a_path_stays_in_the_archive(archive: Archive, path: str) -> None:
    with pytest.raises(ValueError, match="is no path of the archive"):
        archive.write(path, published(frames.events(1)).to_arrow())


def test_a_wrong_url_says_what_to_do() -> None:
    with pytest.raises(Unusable, match="an archive lies in a folder"):
        stores.connect_archive("redis://x")
    with pytest.raises(Unusable, match="give s3://bucket/prefix"):
        stores.connect_archive("s3://b/x?colour=red")
