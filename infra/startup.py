"""How each of our processes begins: private files, one line a message, and few looks for garbage.

What holds for a whole process (its umask, its loggers, its garbage collector) is set here, by whoever starts the
process, and never by a module when it is imported.
"""

from __future__ import annotations

import gc
import logging

from infra import private

# Beam says this on every import, about Google's storage, which we do not use.
_NOISE = ("apitools not found",)
# Objects made between two looks for garbage: events are read by the ten thousand, and looking costs as much as reading.
_BETWEEN_LOOKS = (10_000, 20, 20)


def begin() -> None:
    """Set the umask and the loggers. Call it before anything heavy is imported or a file is made."""
    private.by_default()
    logging.basicConfig(level=logging.WARNING, format="footfall: %(levelname)s %(message)s")
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith(_NOISE))


def collect_rarely() -> None:
    """Leave what is loaded now out of the garbage collector's sight, and have it look seldom from here on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_BETWEEN_LOOKS)
