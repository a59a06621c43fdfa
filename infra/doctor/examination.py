"""Makes all checks, those of each part in a thread of its own, and waits no longer than a few seconds for any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from infra.doctor import folders, processes
from infra.doctor.finding import Check, Finding, NotAsked, Told, not_asked, ok, wrong
from infra.doctor.parts import BrokerChecks, Opened, StoreChecks, WarehouseChecks
from infra.errors import Failed
from infra.settings import Settings

SECONDS = 4.0
# The checks, in the order of the page.
CHECKS = (
    "processes", "sites", "secrets", "disk", "clock", "spool", "broker", "broker clock", "retention", "lag",
    "checkpoint", "schema", "rows", "dead letters", "archive",
)  # fmt: skip


class Group:
    """Checks that follow one another in a thread, over parts that it closes after them."""

    def __init__(self, checks: Mapping[str, Check], opened: ExitStack) -> None:
        self._checks = checks
        self._opened = opened
        self._told: dict[str, list[Told]] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"doctor-{next(iter(checks))}", daemon=True)
        self._thread.start()

    def findings(self, until: float | None) -> dict[str, list[Told]]:
        """What each check said, waiting for it until that moment of the monotonic clock; None waits for ever."""
        self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        with self._lock:
            told = dict(self._told)
        late = [name for name in self._checks if name not in told]
        for name in late[:1]:
            told[name] = [wrong(f"no answer within {SECONDS:.0f} s", "look whether what it asks hangs, or ask again")]
        return told | {name: [not_asked(f"the check {late[0]} has no answer")] for name in late[1:]}

    def _run(self) -> None:
        from brokers.base import Unreachable
        from stores.base import StoreUnreachable

        why = ""
        with self._opened:
            for name, check in self._checks.items():
                if why:
                    told = [not_asked(why)]
                else:
                    try:
                        told = check()
                    except NotAsked as error:
                        told, why = [not_asked(str(error))], str(error)
                    except Exception as error:
                        told = [in_words(error)]
                        if isinstance(error, Unreachable | StoreUnreachable):
                            why = f"the {name} does not answer"
                with self._lock:
                    self._told[name] = told


def in_words(error: Exception) -> Told:
    """What a check met instead of an answer."""
    from brokers.base import BrokerError
    from stores.base import StoreError, Unreadable

    if isinstance(error, Unreadable):
        return wrong(f"{error.path}: {error.why}", error.remedy)
    if isinstance(error, OSError) and error.filename is not None:
        return wrong(f"{error.filename}: {error.strerror}", "look at its kind, its owner and its permissions")
    if isinstance(error, Failed):
        return wrong(error.message, "do what this says, and ask again")
    if isinstance(error, BrokerError | StoreError):
        return wrong(str(error), "do what this says, and ask again")
    return wrong(f"{type(error).__name__}: {error}", "this is a mistake of Footfall: please report it")


class Examination:
    """One look at an installation. With `progress` archive and warehouse are read whole, however long that takes."""

    def __init__(self, settings: Settings, progress: Callable[[int, int], None] | None = None) -> None:
        self._settings = settings
        self._progress = progress
        self._groups: list[Group] = []

    def findings(self) -> Iterator[Finding]:
        """What the checks found, in the order of `CHECKS`."""
        settings, until = self._settings, time.monotonic() + SECONDS
        running = processes.running(settings)
        parts = [Opened(settings, running) for _ in range(3)]
        warehouse = WarehouseChecks(parts[0], self._progress is not None)
        log, store = BrokerChecks(parts[1]), StoreChecks(parts[2])
        archive = Opened(settings, running)

        def here() -> list[Told]:
            told = processes.processes(settings, running)
            if running.serves and told[0].state != "wrong":
                where = warehouse.where(until - 2.0)
                if where:
                    told += processes.tracking(settings, where["port"])
                    told += processes.other_settings(settings, where["settings"])
            if all(each.state == "ok" for each in told):
                return [ok("; ".join(each.finding for each in told))]
            return told

        def secrets() -> list[Told]:
            found = warehouse.inventory_by(until - 0.5)
            told = folders.secrets(settings, events_today=bool(found and found.today))
            private = list(folders.open_to_others(settings))
            return private + [each for each in told if each.state != "ok" or not private]

        groups: list[tuple[dict[str, Check], ExitStack]] = [
            (warehouse.checks, parts[0].opened),
            (log.checks, parts[1].opened),
            (store.checks, parts[2].opened),
            ({"archive": lambda: StoreChecks(archive).archive(self._progress)}, archive.opened),
            (folders.checks(settings, runs=parts[0].runs), ExitStack()),
            ({"processes": here, "secrets": secrets}, ExitStack()),
        ]
        self._groups = [Group(*group) for group in groups]
        told: dict[str, list[Told]] = {}
        for group, (checks, _) in zip(self._groups, groups, strict=True):
            patient = self._progress is not None and ("archive" in checks or "rows" in checks)
            told |= group.findings(None if patient else until)
        for check in CHECKS:
            for each in told[check]:
                yield Finding(check, each.state, each.finding, each.remedy)
