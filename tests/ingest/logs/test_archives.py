"""Archives that are made to cost much, hold no file, or more than files: refused or told, and read once."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ingest.logs import archives
from ingest.logs.files import ImportFailed, named, opened

LINE = b'192.0.2.7 - - [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "curl/8.5.0"\n'


def entry(name: str, content: bytes = LINE, kind: bytes = tarfile.REGTYPE, **more: Any) -> bytes:
    """Return a file of a tar archive as its blocks; `more` are fields of its header."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    for field, value in more.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT if info.pax_headers else tarfile.GNU_FORMAT) + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def sparse(extended: int) -> bytes:
    """Return the header of a sparse file as GNU tar wrote it once, with so many blocks of further holes."""
    header = bytearray(entry("a.log", b"", tarfile.GNUTYPE_SPARSE))
    header[482] = bool(extended)
    header[483:495] = b"%011o\0" % (1 << 30)
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:512]))
    further = bytearray(tarfile.BLOCKSIZE)
    further[504] = 1
    return bytes(header) + bytes(further) * (extended - 1) + bytes(tarfile.BLOCKSIZE if extended else 0)


def written(path: Path, blocks: bytes) -> str:
    path.write_bytes(blocks + bytes(2 * tarfile.BLOCKSIZE))
    return str(path)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "blocks",
    [
        entry("x", b"a" * (3 << 20), tarfile.GNUTYPE_LONGNAME),
        entry("x", b"a" * (3 << 20), tarfile.GNUTYPE_LONGLINK),
        entry("x", b"3000000 comment=" + b"a" * (3 << 20), tarfile.XHDTYPE),
        entry("x", b"3000000 comment=" + b"a" * (3 << 20), tarfile.XGLTYPE),
        entry("x", b"a" * 100_000, tarfile.GNUTYPE_LONGNAME) * 30,
        entry("x", b"1" * 500_000, tarfile.XHDTYPE),
        sparse(6_000),
    ],
    ids=["long name", "long link", "pax", "pax of all", "many names", "digits", "holes"],
)
def test_headers_of_any_length_are_refused(tmp_path: Path, blocks: bytes, behind: bool) -> None:
    path = written(tmp_path / "logs.tar", (entry("first.log") if behind else b"") + blocks + entry("a.log"))
    with pytest.raises(ImportFailed, match=r"logs\.tar: more than 1 MiB, or a thousand digits, stand before a file"):
        named([path])


def test_a_name_that_no_system_has_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "logs.tar", entry("a" * 5_000))
    with pytest.raises(ImportFailed, match="a name in it is longer than 4,096 characters"):
        named([path])


@pytest.mark.parametrize(
    "blocks",
    [
        sparse(0),
        entry("x", b"0\n", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.log",
                                        "GNU.sparse.realsize": str(1 << 45)}),
    ],
    ids=["GNU", "pax"],
)  # fmt: skip
def test_a_sparse_file_is_refused_and_those_beside_it_are_read(tmp_path: Path, blocks: bytes) -> None:
    path = written(tmp_path / "logs.tar", blocks + entry("b.log"))
    assert named([path]) == [f"{path}/a.log", f"{path}/b.log"]
    with opened(f"{path}/a.log") as holes, pytest.raises(ImportFailed, match=r"a\.log: it is packed as a sparse file"):
        list(holes)
    with opened(f"{path}/b.log") as file:
        assert (list(file), file.fault) == ([LINE], None)


@pytest.mark.parametrize("header", [b"12 hdrcharset=\xff\n", b"22 GNU.sparse.map=a,b\n"])
def test_an_archive_with_a_header_that_is_damaged_has_what_came_before(tmp_path: Path, header: bytes) -> None:
    path = written(tmp_path / "logs.tar", entry("a.log") + entry("x", header, tarfile.XHDTYPE) + entry("b.log"))
    assert named([path]) == [f"{path}/a.log", path]


def test_a_file_that_claims_more_than_can_be_is_refused_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "logs.tar", entry("a.log", size=1 << 60))
    with pytest.raises(ImportFailed, match="too large to be read"):
        named([path])


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_packed_archive_is_unpacked_once_where_it_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    path, count = tmp_path / "logs.tar.gz", 40
    with tarfile.open(path, "w:gz") as archive:
        for number in range(count):  # all of one name
            info = tarfile.TarInfo("access.log")
            info.size = len(LINE) * number
            archive.addfile(info, io.BytesIO(LINE * number))
    times, unpacked = [], archives.unpacked
    monkeypatch.setattr(archives, "unpacked", lambda *given: times.append(1) or unpacked(*given))
    monkeypatch.setattr(archives, "_MOST_KEPT", archives._MOST_KEPT if is_kept else 0)
    lines = []
    for name in named([str(path)]):
        with opened(name) as file:
            lines.append(b"".join(file))
            assert file.fault is None
    assert sorted(lines) == [LINE * number for number in range(count)]
    assert len(times) == (1 if is_kept else 1 + count)


def test_an_archive_without_files_is_told(tmp_path: Path) -> None:
    link = entry("access.log", b"", tarfile.SYMTYPE, linkname="/var/log/access.log")
    for blocks in (link, entry("logs", b"", tarfile.DIRTYPE), link + entry("._access.log")):
        path = written(tmp_path / f"{len(list(tmp_path.iterdir()))}.tar", blocks)
        with pytest.raises(ImportFailed, match=r"\.tar holds no files, only links and folders: pack it with `tar -h`"):
            named([path])
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        archive.writestr("logs/", b"")
    with pytest.raises(ImportFailed, match=r"logs\.zip holds no files, only links and folders$"):
        named([str(tmp_path / "logs.zip")])


def test_links_that_are_left_out_are_told_once(tmp_path: Path) -> None:
    links = [entry(f"link {number}", b"", tarfile.SYMTYPE, linkname="/x") for number in range(4)]
    again = entry("again.log", b"", tarfile.LNKTYPE, linkname="a.log")  # is in the archive
    path = written(tmp_path / "logs.tar", b"".join(links) + entry("a.log") + again + entry("b.log"))
    remarks = []
    for name in named([path]):
        with opened(name) as file:
            assert list(file) == [LINE]
            remarks += file.remarks
    assert remarks == [
        "beside it in the archive, links are left out (link 0, link 1, link 2, …): `tar -h` packs what they lead to"
    ]
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        link = zipfile.ZipInfo("access.log")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/var/log/access.log")
        archive.writestr("a.log", LINE)
    (name,) = named([str(tmp_path / "logs.zip")])
    with opened(name) as file:
        assert (list(file), len(file.remarks)) == ([LINE], 1)
