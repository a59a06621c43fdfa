"""The checks of what runs: who holds the data folder, and whether both ports answer."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

from infra import addresses
from infra.doctor.finding import Told, ok, warning, wrong
from infra.processes import control
from infra.processes.lock import DataLock, Holder
from stores.backends import hide_credentials

if TYPE_CHECKING:
    from infra.processes.control import Owner
    from infra.settings import Settings

_ANSWERS_WITHIN = 1.5  # seconds


class Running(NamedTuple):
    """Who holds the data folder: `owner` serves other commands, `holder` is the last one that took the lock."""

    held: bool
    owner: Owner | None
    holder: Holder | None

    @property
    def serves(self) -> bool:
        """Whether a process holds the folder that other commands can ask, and not one that was killed before."""
        return self.held and self.owner is not None and Holder(self.owner.pid, "", "").alive


def running(settings: Settings) -> Running:
    """Who holds the data folder now."""
    lock = DataLock(settings.data)
    return Running(lock.held(), control.find(settings.data), lock.holder())


def processes(settings: Settings, found: Running) -> list[Told]:
    """Whether what runs answers, and whether what is written about it is true."""
    if found.serves:
        assert found.owner is not None
        return _answer(f"the dashboards port ({found.owner.url})", found.owner.url)
    if found.held:
        who = f"`{found.holder.command}`, process {found.holder.pid}" if found.holder else "another process"
        said = f"{settings.data} is held by {who}, which serves no other command yet"
        return [warning(said, "ask again when it has started or is done")]
    told = []
    if found.owner is not None:
        said = f"process {found.owner.pid} was killed: its {settings.data / control.FILE} is still there"
        told.append(warning(said, "the next start of `footfall up` replaces it"))
    ports = (
        ("port", settings.host, settings.port),
        ("dashboards-port", settings.dashboards_host, settings.dashboards_port),
    )
    for name, host, port in ports:
        address = addresses.address(host, port)
        status = _status(address) if port else None
        if status is None:
            continue
        if not settings.embedded:
            told += _judged(f"the service at {address}", status)
        elif status[0] == 200:
            told.append(warning(f"an `up` of another data folder answers at {address}", f"choose another --{name}"))
        else:
            told.append(wrong(f"another program answers at {address}", f"stop it, or choose another port by --{name}"))
    if settings.embedded:
        told.append(warning("`footfall up` does not run on this data folder: no event is taken", "start `footfall up`"))
    return told or [ok("no service of Footfall answers at the ports of this machine")]


def tracking(settings: Settings, port: int) -> list[Told]:
    """Whether the tracking port of a running `up` takes events."""
    address = addresses.address(settings.host, port)
    return _answer(f"the tracking port ({address})", address)


def other_settings(settings: Settings, theirs: dict[str, str]) -> list[Told]:
    """Where this command was told another place than the running process; theirs come without credentials."""
    told = []
    for name, place in theirs.items():
        ours = hide_credentials(getattr(settings, name))
        if _real(ours) != _real(place):
            said = f"the running process has its {name} at {place}, this command was told {ours}"
            told.append(wrong(said, f"give this command --{name} as the running process has it"))
    return told


def _real(url: str) -> str:
    """A URL with its path resolved, if it is one of this machine."""
    scheme, _, path = url.partition("://")
    return f"{scheme}://{os.path.realpath(path)}" if path.startswith("/") else url


def _answer(what: str, address: str) -> list[Told]:
    status = _status(address)
    if status is None:
        return [wrong(f"{what} does not answer within {_ANSWERS_WITHIN:.1f} s", "see its output, and start it again")]
    return _judged(what, status)


def _judged(what: str, status: tuple[int, str]) -> list[Told]:
    """What an answer to `/ready` means."""
    code, body = status
    first, *others = body.strip().splitlines() or [str(code)]
    if code != 200:
        return [wrong(f"{what}: {first}", "it goes on when that is mended; see the other checks")]
    away = [line for line in others if line.startswith("without the live store")]
    return [warning(f"{what}: {line}", "bring Redis back; the server tries by itself") for line in away] or [
        ok(f"{what} answers")
    ]


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
