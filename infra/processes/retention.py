"""The retention of sites as `up` keeps it by itself: once a day, and a day after it was first seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from infra.errors import Failed
from infra.wiring import Parts

if TYPE_CHECKING:
    from pipeline.live import Loader

log = logging.getLogger("footfall")


class Keeper:
    """Removes what sites do not keep any longer; `loader` returns one of all units."""

    def __init__(self, parts: Parts, loader: Callable[[], Loader]) -> None:
        self._parts = parts
        self._loader = loader
        self._trouble = ""

    def step(self, stopping: Callable[[], bool] = lambda: False) -> str:
        """Remove what is due now; returns why it cannot be, or "". Raises what the broker and the stores raise."""
        from pipeline import expire
        from pipeline import forget as forgetting
        from pipeline.forget import Unable
        from pipeline.rebuild import Busy

        parts, loader, trouble = self._parts, self._loader(), ""
        try:
            forgetting.resume(loader, parts.archive)  # what a store's fault broke off
            retention = parts.retention()
            due, fresh = expire.due(parts.checkpoint, retention, loader.clock())
            for site in fresh:
                told = _in_words(expire.look(loader, parts.archive, site, retention[site]))
                log.warning(
                    "%s keeps %d days from now on. In a day all before goes for good, %s now: change `retention_days`"
                    " in %s if that is not meant, or have it go at once by `footfall forget --expired`",
                    site, retention[site], told, parts.settings.sites,
                )  # fmt: skip
                expire.note(parts.checkpoint, site, retention[site], loader.clock())
            for site, days in due.items():
                if stopping():
                    break
                receipt = expire.expire(loader, parts.archive, site, days, lambda _what: None)
                told = _in_words(receipt)
                log.warning("%s keeps what happened since %s: %s are gone", site, receipt["kept_since"], told)
        except (Failed, Unable, Busy) as error:
            trouble = f"what has expired is not removed: {error}"
            if trouble != self._trouble:
                log.warning("%s", trouble)
        self._trouble = trouble
        return trouble


def _in_words(receipt: dict[str, object]) -> str:
    removed = receipt["removed"]
    assert isinstance(removed, dict)
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in removed.items())
