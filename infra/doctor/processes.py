"""The checks of what runs: who holds the data folder, and whether both ports answer."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

from infra import addresses
from infra.doctor.finding import Told, ok, warning, wrong
from infra.processes import control
from infra.processes.lock import DataLock
from stores.backends import hide_credentials

if TYPE_CHECKING:
    from infra.processes.control import Owner
    from infra.processes.lock import Holder
    from infra.settings import Settings

_ANSWERS_WITHIN = 2.0  # seconds


class Running(NamedTuple):
    """Who holds the data folder: `owner` serves other commands, `holder` is the last one that took the lock."""

    held: bool
    owner: Owner | None
    holder: Holder | None

    @property
    def serves(self) -> bool:
        """Whether a process holds the folder that other commands can ask."""
        return self.held and self.owner is not None


def running(settings: Settings) -> Running:
    """Who holds the data folder now."""
    lock = DataLock(settings.data)
    return Running(lock.held(), control.find(settings.data), lock.holder())


def processes(settings: Settings, found: Running) -> list[Told]:
    """Whether what runs answers, and whether what is written about it is true."""
    if found.serves:
        assert found.owner is not None
        return [_answer(f"the dashboards port ({found.owner.url})", found.owner.url)]
    if found.held:
        who = f"`{found.holder.command}`, process {found.holder.pid}" if found.holder else "another process"
        return [warning(f"{settings.data} is held by {who}, which serves no other commands", "wait until it is done")]
    told = []
    if found.owner is not None:
        said = f"process {found.owner.pid} was killed: its {settings.data / control.FILE} is still there"
        told.append(warning(said, "the next start of `footfall up` replaces it"))
    for name, host, port in (
        ("port", settings.host, settings.port),
        ("dashboards-port", settings.dashboards_host, settings.dashboards_port),
    ):
        address = addresses.address(host, port)
        if port and (status := _status(address)) is not None:
            if settings.embedded and status[0] != 200:
                said = f"another program answers at {address}"
                told.append(wrong(said, f"stop it, or choose another port by --{name}"))
            elif settings.embedded:
                told.append(warning(f"an `up` on another data folder answers at {address}", f"choose another --{name}"))
    if settings.embedded:
        told.append(warning("`footfall up` does not run on this data folder: no event is taken", "start `footfall up`"))
    return told or [ok("this machine runs no `footfall up`; its services were asked nothing")]


def tracking(settings: Settings, port: int) -> Told:
    """Whether the tracking port of a running `up` takes events."""
    address = addresses.address(settings.host, port)
    return _answer(f"the tracking port ({address})", address)


def other_settings(settings: Settings, theirs: dict[str, str]) -> list[Told]:
    """Where this command was told another place than the running process; theirs come without credentials."""
    told = []
    for name, place in theirs.items():
        if (ours := hide_credentials(getattr(settings, name))) != place:
            said = f"the running process has its {name} at {place}, this command was told {ours}"
            told.append(wrong(said, f"give this command --{name} as the running process has it"))
    return told


def _answer(what: str, address: str) -> Told:
    status = _status(address)
    if status is None:
        return wrong(f"{what} does not answer within {_ANSWERS_WITHIN:.0f} s", "see its output, and start it again")
    code, body = status
    if code == 200:
        return ok(f"{what} answers")
    return wrong(f"{what}: {body.strip() or code}", "it goes on when that is mended; see the other checks")


def _status(address: str) -> tuple[int, str] | None:
    """What answers to `/ready`; None if nobody does."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/ready", timeout=_ANSWERS_WITHIN) as response:
            return response.status, response.read(1_000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(1_000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
