"""Checksums of rows that ClickHouse and Polars compute alike, so that equal rows need not travel to be compared.

A row's checksum is 64 bits: XXH64 of each text and the numbers as they are, each times an odd number of its column,
added up and mixed (the finalizer of MurmurHash3). The checksum of a set of rows is the sum of theirs, and rows are
summed where they lie. All arithmetic is modulo 2^64.

Counts that add up have a checksum that adds up as well: the mixed checksum of the key times a sum of the counts. So
counts in pieces have the checksum of their totals, whichever way they were cut.

Two different sets have the same checksum by chance once in 2^64 comparisons, since the columns' numbers have nothing
to do with what the rows hold. Whoever compares counts the rows too. The checksum only says where to look: of a set
with another one the rows themselves are compared, so an engine that computed it otherwise would cost time, and find
nothing that is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
import polars_hash

from activity import columns

_FIRST, _SECOND = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53


def row_checksums(frame: pl.DataFrame, names: Iterable[str]) -> np.ndarray:
    """The checksum of each row over these columns, which are texts (`pl.Categorical` too), integers and booleans."""
    return _mixed(_added(frame, names))


def total(checksums: np.ndarray) -> int:
    """The checksum of a set of rows from those of its rows."""
    return int(checksums.sum(dtype=np.uint64))


def counts_checksum(frame: pl.DataFrame, keys: Sequence[str], counts: Sequence[str]) -> int:
    """The checksum of counts by key; equal keys may be in several rows."""
    return total((row_checksums(frame, keys) | np.uint64(1)) * _added(frame, counts))


def row_checksum_sql(types: Mapping[str, str], names: Iterable[str], alias: str) -> str:
    """What computes `row_checksums` in the engine, where the columns have these types.

    Intermediate results get names that begin with `alias`."""
    return (
        f"bitXor((bitXor((bitXor(({_added_sql(types, names)}) AS {alias}_0, bitShiftRight({alias}_0, 33))"
        f" * {_FIRST}) AS {alias}_1, bitShiftRight({alias}_1, 33)) * {_SECOND}) AS {alias}_2,"
        f" bitShiftRight({alias}_2, 33))"
    )


def counts_checksum_sql(types: Mapping[str, str], keys: Sequence[str], counts: Sequence[str]) -> str:
    """What computes `counts_checksum` in the engine."""
    return f"sum(bitOr({row_checksum_sql(types, keys, 'key')}, 1) * ({_added_sql(types, counts)}))"


def _factor(name: str) -> int:
    """The odd number of a column."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) | 1


def _added(frame: pl.DataFrame, names: Iterable[str]) -> np.ndarray:
    added = np.zeros(frame.height, np.uint64)
    if not frame.height:
        return added
    for name in names:
        values = frame[name]
        if values.dtype == pl.Categorical:
            numbers, texts = columns.numbered(values)
            of_texts = _hashed(texts).to_numpy() * np.uint64(_factor(name))
            added += of_texts[numbers] if len(texts) > 1 else of_texts
            continue
        if values.dtype == pl.String:
            values = _hashed(values)
        values = values.cast(pl.Int64, wrap_numerical=True)
        if values.null_count():
            added -= values.is_null().to_numpy().astype(np.uint64) * np.uint64(_factor(f"no {name}"))
            values = values.fill_null(0)
        added += values.to_numpy().view(np.uint64) * np.uint64(_factor(name))
    return added


def _hashed(texts: pl.Series) -> pl.Series:
    return texts.to_frame("text").select(polars_hash.col("text").nchash.xxhash64()).to_series()


def _added_sql(types: Mapping[str, str], names: Iterable[str]) -> str:
    terms = []
    for name in names:
        value = f"toUnixTimestamp64Milli({name})" if "DateTime64" in types[name] else name
        if "String" in types[name]:
            value = f"xxHash64({name})"
        elif types[name].startswith("Nullable"):
            terms.append(f"isNull({name}) * {2**64 - _factor(f'no {name}')}")
            value = f"ifNull({value}, 0)"
        terms.append(f"toUInt64({value}) * {_factor(name)}")
    return " + ".join(terms)


def _mixed(values: np.ndarray) -> np.ndarray:
    shift = np.uint64(33)
    mixed: np.ndarray = values ^ (values >> shift)
    mixed *= np.uint64(_FIRST)
    mixed ^= mixed >> shift
    mixed *= np.uint64(_SECOND)
    mixed ^= mixed >> shift
    return mixed
