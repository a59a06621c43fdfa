"""What our processes say on stderr: one line each, ours and our libraries' alike."""

from __future__ import annotations

import logging

# Said by Beam on every import, about Google's storage, which we do not use.
_NOISE = ("apitools not found",)


def set_up() -> None:
    """Once at the start of a process, before anything heavy is imported."""
    logging.basicConfig(level=logging.WARNING, format="footfall: %(levelname)s %(message)s")
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith(_NOISE))
