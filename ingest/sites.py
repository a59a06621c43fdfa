"""The sites file: the domains whose events are accepted, and the rules of each.

    [[site]]
    domain = "example.com"
    key = "secret, for servers that send events for others"
    timezone = "Europe/Berlin"
    search_parameters = ["q", "query"]
    origins = ["https://example.com"]
    limits = { address = "50000/minute" }   # or false; limits not given are those of all sites
    redirects = ["https://www.example.com"]   # where links that count a click may lead
    retention_days = 400   # whole UTC days beside the one that runs; what is older is removed. Unset: kept for ever

Only `domain` is required. The file may begin with `limits = false`, or with the limits of all sites (see `limiter`):

    [limits]
    address = "3000/10 seconds; 10000/minute"

The file is checked for changes at most once a second, but at once where a site is not known, and read again when it
has changed. An error in a changed file is logged, and the sites read before stay in force. A site with an unknown time
zone is logged too: its events are counted, only its pages cannot be shown. Adding a site keeps the comments and the
order of the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import secrets
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import tomlkit

from activity.url import in_letters
from activity.zones import ZONES, not_known
from ingest.limiter import DEFAULTS, Limits, windows
from stores.backends import make_durable_folder, sync_folder

if TYPE_CHECKING:
    from activity.enrich import SiteRules

log = logging.getLogger(__name__)

_DOMAIN = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,250}[a-z0-9])?(:[0-9]{1,5})?")
_SPELT = re.compile(r"\s*+(?:(?:https?:)?//)?([^/?#\s]{1,255})")  # a domain, or an address of the site
_LONGEST_SPELT = 512  # characters
_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")  # in which keyboards and editors write a letter
_CHECK_EVERY = 1.0
_ASKED, _LONGEST_ASKED = 4096, 256  # how many answers to trackers are kept, and characters of a question; both bound it
LONGEST_RETENTION = 36_500  # days
_PREAMBLE = f"""# The sites that are counted. What one sender may send is limited, unless this file says otherwise.
# These limits hold; write them here without the # to change them, or `limits = false` to have none:
# [limits]
# address = "{DEFAULTS.address}"  # one address; of IPv6 a /64
# network = "{DEFAULTS.network}"  # a /24; of IPv6 a /48
# site = "{DEFAULTS.site}"
# A [[site]] may have its own: limits = {{ address = "50000/minute" }}, or limits = false.

"""


class SitesError(ValueError):
    """The sites file cannot be used. The message names the file, the entry and what to change."""


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file."""

    domain: str
    key: Annotated[str, msgspec.Meta(min_length=16)] | None = None
    timezone: str = "UTC"
    search_parameters: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: Limits | bool = True
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_RETENTION)] | None = None
    ids: tuple[str, ...] = ()  # by which trackers of others name the site: website ids, measurement ids, public keys
    redirects: tuple[str, ...] = ()  # origins to which links that count a click may lead
    write_keys: tuple[Annotated[str, msgspec.Meta(min_length=16)], ...] = ()  # secret keys of trackers on servers

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys with which a sender is trusted."""
        return self.write_keys if self.key is None else (self.key, *self.write_keys)

    def rules(self) -> SiteRules:
        """Return the part of the entry that enriching an event depends on."""
        from activity.enrich import SiteRules  # imports the lists of agents, which most readers of the file do not need

        days = self.retention_days
        if self.search_parameters:
            return SiteRules(self.domain, self.timezone, self.search_parameters, self.origins, days)
        return SiteRules(self.domain, timezone=self.timezone, origins=self.origins, retention_days=days)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    site: list[Site] = []
    limits: Limits | bool = True


class SitesFile(NamedTuple):
    """The content of a sites file."""

    sites: dict[str, Site]
    limits: Limits | bool  # for sites without limits of their own


def parse(text: str, source: str) -> dict[str, Site]:
    """Return the sites of a TOML text by domain. Raises one `SitesError` with every problem in it."""
    return parse_file(text, source).sites


def parse_file(text: str, source: str) -> SitesFile:
    """Parse a TOML text. `source` names it in errors. Raises one `SitesError` with every problem in it."""
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise SitesError(f"{source} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise SitesError(
            f"{source}: {error}; an entry is [[site]] with domain, and if wanted key, timezone, "
            "search_parameters, origins, redirects, limits, ids, write_keys (of 16 characters or more) and "
            "retention_days (a whole number of days, 1 or more)"
        ) from error
    problems: list[str] = []
    sites: dict[str, Site] = {}
    problems += _limit_problems("all sites", True, file.limits)
    for entry in file.site:
        problems += _problems(entry)
        problems += _limit_problems(entry.domain, entry.limits, True)
        if entry.domain in sites:
            problems.append(f"{entry.domain} is there twice; keep one of the two entries")
        sites[entry.domain] = _with_origins(entry) if entry.origins or entry.redirects else entry
    problems += _shared_ids(sites)
    if problems:
        raise SitesError(f"{source}: " + "; ".join(problems))
    return SitesFile(sites, file.limits)


def _limit_problems(owner: str, own: Limits | bool, overall: Limits | bool) -> Iterator[str]:
    try:
        windows(own, overall)
    except ValueError as error:
        yield f"{error} (of {owner})"


def _shared_ids(sites: dict[str, Site]) -> Iterator[str]:
    owners: dict[str, str] = {}
    secret = {key for site in sites.values() for key in site.secrets}
    for site in sites.values():
        for name in dict.fromkeys(site.ids):
            if name in owners or (name in sites and name != site.domain):
                yield f"the id {name!r} of {site.domain} is {owners.get(name, name)}'s too; each id belongs to one site"
            if name in secret:
                yield f"the id {name!r} of {site.domain} is a secret key, too; what pages show is no secret"
            owners[name] = site.domain


def _problems(site: Site) -> Iterator[str]:
    if not is_domain(site.domain):
        yield f"{site.domain!r} is not a domain; write it in lower case without https:// and path, like example.com"
    for origin in (*site.origins, *site.redirects):
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            yield f"origin {origin!r} of {site.domain} is not one; write it like https://www.example.com"


def origin(spelt: str) -> str:
    """Return an origin as browsers write it: in lower case, without the port that its scheme has anyway."""
    scheme, _, host = spelt.lower().partition("://")
    return f"{scheme}://{host.removesuffix(':443' if scheme == 'https' else ':80')}"


def _with_origins(site: Site) -> Site:
    origins, redirects = (tuple(map(origin, each)) for each in (site.origins, site.redirects))
    return msgspec.structs.replace(site, origins=origins, redirects=redirects)


def read(path: Path) -> dict[str, Site]:
    """Return the sites of a file by domain. Raises `SitesError`, also if the file cannot be read."""
    with _in_words(path):
        return parse(path.read_text(encoding="utf-8"), str(path))


def wrong_zones(sites: Iterable[Site], source: str) -> list[str]:
    """Return a sentence for each site with an unknown time zone."""
    return [
        f"{source}: {site.domain} is counted, but has no pages: its {not_known(site.timezone)}"
        for site in sites
        if site.timezone not in ZONES
    ]


def is_domain(text: str) -> bool:
    """Return whether a text is a domain in lower case, with an optional port."""
    return _DOMAIN.fullmatch(text) is not None


class Sites:
    """The known sites: read from a file that may change, or fixed."""

    def __init__(
        self, path: Path | None = None, sites: dict[str, Site] | None = None, limits: Limits | bool = True
    ) -> None:
        self._path = path
        self._take(dict(sites or {}))
        self.limits = limits
        self._version: tuple[int, int, int] | None = None
        self._check_at = 0.0
        self._problem = ""
        if path is not None:
            self._read(path)

    def get(self, domain: str) -> Site | None:
        """Return a site by its domain, checking the file for changes."""
        self._refresh(domain in self._sites)
        return self._sites.get(domain)

    def spelt(self, name: str) -> Site | None:
        """Return a site by its domain, an address of it or what a browser calls its host: "https://www.example.com/".

        A domain may stand in its own letters, too. What a sender writes is only looked up: to normalise it costs
        milliseconds."""
        found = _SPELT.match(name.lower()) if len(name) <= _LONGEST_SPELT else None
        if found is None:
            return None
        self._refresh(known=False)
        for host in (found[1].rstrip("."), found[1].partition(":")[0].rstrip(".")):
            for spelling in (host, host.removeprefix("www.")):
                site = self._sites.get(spelling) or self._in_letters.get(spelling)
                if site is not None:
                    return site
        return None

    def named(self, protocol: str, name: str) -> Site | None:
        """Return a site by the id under which trackers of a protocol know it: "PROTOCOL:ID", "ID" or the domain."""
        specific = f"{protocol}:{name}"
        self._refresh(specific in self._ids or name in self._ids)
        domain = self._ids.get(specific) or self._ids.get(name) or name
        found = self.get(domain) or self.get(domain.lower().removeprefix("www."))
        tidy = name.strip().lower()  # UUIDs come in capitals, too
        return self.named(protocol, tidy) if found is None and tidy != name else found

    def with_key(self, key: str) -> tuple[str, ...]:
        """Return the domains whose secret the key is."""
        hashed = _hashed(key)
        self._refresh(hashed in self._owners)
        return self._owners.get(hashed, ())

    def of_tracker(self, protocol: str, name: str, credential: str) -> tuple[Site | None, bool]:
        """Return the site of a tracker's event, and whether the credential is its secret.

        `name` is its id or domain, "" where only the credential tells it: as a secret, or as an id."""
        asked = (protocol, name, credential)
        self._refresh(asked in self._asked)
        known = self._asked.get(asked)
        if known is None:
            owners = self.with_key(credential) if credential else ()
            if name:
                site = self.named(protocol, name)
            else:
                site = self.named(protocol, credential) if credential else None
                if site is None and len(owners) == 1:
                    site = self.get(owners[0])
            known = site, site is not None and site.domain in owners
            if site is not None and len(name) + len(credential) <= _LONGEST_ASKED:
                if len(self._asked) >= _ASKED:
                    self._asked.clear()
                self._asked[asked] = known
        return known

    def _refresh(self, known: bool) -> None:
        """Check the file: at most once a second, but always for what is not known, which may be new in it."""
        if self._path is not None and (not known or monotonic() >= self._check_at):
            self._check(self._path)

    def _take(self, sites: dict[str, Site]) -> None:
        owners: dict[bytes, tuple[str, ...]] = {}
        for site in sites.values():
            for key in site.secrets:
                owners[_hashed(key)] = (*owners.get(_hashed(key), ()), site.domain)
        self._sites = sites
        self._in_letters = {
            unicodedata.normalize(form, in_letters(site.domain)): site for site in sites.values() for form in _FORMS
        }
        self._asked: dict[tuple[str, str, str], tuple[Site | None, bool]] = {}
        self._ids = {name: site.domain for site in sites.values() for name in site.ids}
        self._owners = owners
        # The longest first: one may stand in another.
        self.secrets = sorted({key for site in sites.values() for key in site.secrets}, key=len, reverse=True)

    def all(self) -> list[Site]:
        """Return all sites, in the order of the file, which is checked for changes first."""
        if self._path is not None:
            self._check(self._path)
        return list(self._sites.values())

    def _check(self, path: Path) -> None:
        self._check_at = monotonic() + _CHECK_EVERY
        try:
            self._read(path)
        except SitesError as error:
            if str(error) != self._problem:
                log.error("The sites known before stay in force: %s", error)
            self._problem = str(error)

    def _read(self, path: Path) -> None:
        with _in_words(path):
            try:
                status = path.stat()
            except FileNotFoundError:
                if self._version is None:
                    return
                raise
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version == self._version:
                return
            text = path.read_text(encoding="utf-8")
            self._version = version  # set before parsing, so that an error in this text is logged once
            sites, self.limits = parse_file(text, str(path))
            self._take(sites)
            for problem in wrong_zones(self._sites.values(), str(path)):
                log.error(problem)
        self._problem = ""
        self._check_at = monotonic() + _CHECK_EVERY


def add(path: Path, domain: str, **fields: object) -> bool:
    """Add a site to the file unless it is there; return whether it was added.

    `fields` are the further fields of its entry. Other processes may add sites at the same time. Raises `SitesError` if
    the file or the new entry is not valid."""
    domain = domain.strip().lower().rstrip(".")
    with _in_words(path), _locked(path):
        text = path.read_text(encoding="utf-8") if path.exists() else _PREAMBLE
        if domain in parse(text, str(path)):
            return False
        document = tomlkit.parse(text)
        entry = tomlkit.table()
        entry["domain"] = domain
        for name, value in fields.items():
            entry[name] = value
        entries = document.setdefault("site", tomlkit.aot())
        entries.append(entry)
        changed = tomlkit.dumps(document)
        added = parse(changed, str(path))[domain]
        if added.timezone not in ZONES:
            raise SitesError(f"{domain} is not added: {not_known(added.timezone)}")
        _replace(path, changed)
    return True


def _hashed(key: str) -> bytes:
    """Return what a key is looked up by, so that the time it takes tells nothing of the keys there are."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def new_key() -> str:
    """Return a new random key for a site."""
    return secrets.token_urlsafe(24)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Turn errors of the file system and of the encoding into `SitesError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SitesError(f"{path} is not UTF-8 ({error}): write it anew as UTF-8 text") from error
    except OSError as error:
        where = error.filename or path
        raise SitesError(
            f"{where}: {error.strerror}; the sites are a file that this user may read and write"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    make_durable_folder(path.parent)
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    """Replace the file atomically and durably. Only its owner may read it, because it holds keys."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
