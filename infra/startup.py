"""How each of our processes starts: private files, one line per message, and a garbage collector that runs rarely.

Settings of a whole process (its umask, its loggers, its garbage collector) are made here, by the code that starts the
process, and never by a module when it is imported.
"""

from __future__ import annotations

import gc
import logging
import os

from infra import private

# Beam logs this on every import, about Google's storage, which we do not use.
_NOISE = ("apitools not found",)
# How long the allocator of Polars keeps freed memory. Half a second, its default, makes a run over millions of events
# map the same pages again and again.
_MEMORY = "dirty_decay_ms:10000,muzzy_decay_ms:10000"
# Thresholds for `gc.set_threshold`: we read events by the ten thousand, and a collection costs as much as the reading.
_BETWEEN_LOOKS = (10_000, 20, 20)


def begin() -> None:
    """Sets the umask, the allocator and the loggers. Call it before a heavy import and before a file is made."""
    private.by_default()
    os.environ.setdefault("_RJEM_MALLOC_CONF", _MEMORY)
    logging.basicConfig(level=logging.WARNING, format="footfall: %(levelname)s %(message)s")
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith(_NOISE))


def collect_rarely() -> None:
    """Exempts everything loaded so far from garbage collection, and makes the collector run rarely from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_BETWEEN_LOOKS)
