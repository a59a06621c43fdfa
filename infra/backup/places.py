"""Where the parts of a backup belong: a name in the backup, and the file or folder that the settings say.

Only embedded parts are in a backup. A server has tools of its own, see `docs/backup.md`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from infra.errors import Failed
from infra.settings import Settings, spell
from stores.accounts import FILE as ACCOUNTS
from stores.backends import build_url

LOG = "log.db"
SITES = "sites.toml"
WAREHOUSE = "warehouse"
# Files that lie in the data folder beside the parts, such as one with the password of the dashboards.
BESIDE = "beside"

_EMBEDDED = {
    "broker": "sqlite:",
    "warehouse": "chdb:",
    "archive": "file:",
    "checkpoint": "file:",
    "live": "file:",
    "spool": "file:",
}
_GUIDE = "docs/backup.md says how to back up servers, and in which order"


def refuse(settings: Settings, command: str) -> None:
    """Raises `Failed` if any part is not embedded; the message names all of these."""
    elsewhere = [f"{spell(name)} is {scheme}:" for name, scheme in _elsewhere(settings).items()]
    if elsewhere:
        raise Failed(f"`{command}` is for embedded parts, and {', '.join(elsewhere)}. {_GUIDE}")


def _elsewhere(settings: Settings) -> dict[str, str]:
    """The settings that name a server, each with the scheme of its URL."""
    urls = {name: str(getattr(settings, name)) for name in _EMBEDDED}
    return {name: url.partition(":")[0] for name, url in urls.items() if not url.startswith(_EMBEDDED[name])}


def of(settings: Settings) -> dict[str, Path]:
    """The file or folder of each part by its name in a backup; `BESIDE` is the data folder itself."""
    folders = {name: _path(getattr(settings, name)) for name in (WAREHOUSE, "archive", "checkpoint", "live", "spool")}
    return {
        **folders,
        LOG: _path(settings.broker),
        SITES: settings.sites,
        ACCOUNTS: settings.data / ACCOUNTS,
        BESIDE: settings.data,
    }


def warehouse_at(settings: Settings, folder: Path) -> str:
    """The URL of a warehouse in another folder, with the options of ours."""
    return build_url("chdb", "", quote(str(folder)), urlsplit(settings.warehouse).query)


def any_part(settings: Settings) -> bool:
    """Whether any embedded part is there."""
    servers = {LOG if name == "broker" else name for name in _elsewhere(settings)}
    return any(path.exists() for name, path in of(settings).items() if name not in (BESIDE, *servers))


def require(settings: Settings) -> None:
    """Raises `Failed` if nothing embedded is there: a command that asks or mends is not to make it."""
    if not settings.data.is_dir() and not any_part(settings):
        raise Failed(f"there is no data folder {settings.data}: name yours by {spell('data')}; `footfall up` makes one")
    if not any_part(settings):
        raise Failed(f"{settings.data} has nothing of Footfall: name the data folder by --data, or mount its disk")


def beside(settings: Settings) -> list[Path]:
    """The files directly in the data folder that are no part and outlive a process."""
    parts = {path for name, path in of(settings).items() if name != BESIDE}
    databases = {path for path in parts if path.name.endswith(".db")}
    passing = {Path(f"{path}{suffix}") for path in databases for suffix in ("-wal", "-shm", "-journal")}
    return [
        path
        for path in sorted(settings.data.iterdir())
        if path.is_file()
        and path not in parts | passing
        and path.name != "lock"
        and not path.name.startswith("owner.json")
        and not path.name.endswith(".lock")
    ]


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))
