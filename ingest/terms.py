"""On which terms events are accepted, by site: for a request at the door, and for a dead letter that is repaired."""

from __future__ import annotations

import hmac
from typing import NamedTuple
from urllib.parse import urlsplit

from activity.enrich import SiteRules
from activity.refusal import Reason, Refusal
from ingest.limiter import Limiter, Rules
from ingest.sites import Site, Sites, is_domain, origin


class Terms(NamedTuple):
    """The terms on which one sender's events for one site are accepted."""

    domain: str
    rules: SiteRules
    limits: Rules | None
    trusted: bool  # the sender has the site's key
    redirects: tuple[str, ...]  # origins to which its links may lead
    problem: tuple[Reason, str] | None  # why its events are refused, once they are within the limits


class _SiteEntry(NamedTuple):
    """A site of the sites file with what is derived from it."""

    site: Site
    overall: object  # the file's limits for all sites, from which the limits of `terms` were derived
    terms: Terms  # for a sender without a key, from an origin of the site


class SiteTerms:
    """The terms of each site, as the sites file has them now."""

    def __init__(self, sites: Sites, limiter: Limiter) -> None:
        self._sites = sites
        self._limiter = limiter
        self._rules: dict[str, _SiteEntry] = {}
        self._unknown_sites: tuple[object, Rules | None] = (None, None)

    def of(self, spelt: str, headers: dict[bytes, bytes]) -> Terms | None:
        """Return the terms for a site, spelt as in the event, and for these headers; None for an unknown site."""
        entry = self._site_entry(spelt)
        if entry is None:
            return None
        site = entry.site
        authorization = headers.get(b"authorization")
        terms = self._from_origin(entry, headers)
        if authorization is None:
            return terms
        if _is_key(authorization, site):
            return terms._replace(trusted=True)
        if authorization and terms.problem is None:
            detail = f"the key in `Authorization` is not that of {site.domain}: see the sites file"
            return terms._replace(problem=(Reason.NOT_ALLOWED, detail))
        return terms

    def of_tracker(self, protocol: str, name: str, credential: str, headers: dict[bytes, bytes]) -> Terms | None:
        """Return the terms for an event that a tracker sent with a credential; None for an unknown site.

        `name` is the id or domain of its site, "" where only the credential tells it. A credential that is nobody's
        secret may be the id of a site, and is else of no account: what clients send as one differs by tracker."""
        site, trusted = self._sites.of_tracker(protocol, name, credential)
        entry = self._site_entry(site.domain) if site is not None else None
        if entry is None:
            return None
        if trusted:
            return entry.terms._replace(trusted=True)
        return self._from_origin(entry, headers)

    def without_secrets(self, received: bytes) -> bytes:
        """Return bytes of a request without the secret keys of sites that stand in them, for a dead letter."""
        for secret in self._sites.secrets:
            if secret.encode() in received:
                received = received.replace(secret.encode(), b"KEY")
        return received

    def domain(self, spelt: str) -> str:
        """Return the domain of a site as the sites file spells it; "" for an unknown site."""
        entry = self._site_entry(spelt)
        return entry.site.domain if entry else ""

    def limits_of_unknown_sites(self) -> Rules | None:
        """Return the limits for events of sites that are not known; None if there are none."""
        overall = self._sites.limits
        if self._unknown_sites[0] is not overall:
            self._unknown_sites = (overall, self._limiter.rules("", True, overall))
        return self._unknown_sites[1]

    def _from_origin(self, entry: _SiteEntry, headers: dict[bytes, bytes]) -> Terms:
        site, terms = entry.site, entry.terms
        if site.origins and (origin := headers.get(b"origin")) and origin.decode("latin-1") not in site.origins:
            return terms._replace(problem=_wrong_origin(origin, site))
        return terms

    def _site_entry(self, domain: str) -> _SiteEntry | None:
        site = self._sites.get(domain)
        if site is None:
            site = self._sites.spelt(domain)
            if site is None:
                return None
        entry = self._rules.get(site.domain)
        overall = self._sites.limits
        if entry is None or entry.site is not site or entry.overall is not overall:
            limits = self._limiter.rules(site.domain, site.limits, overall)
            terms = Terms(site.domain, site.rules(), limits, trusted=False, redirects=site.redirects, problem=None)
            entry = _SiteEntry(site, overall, terms)
            self._rules[site.domain] = entry
        return entry


def may_not_lead(target: str, spelt: str, terms: Terms | None) -> Refusal | None:
    """Return the refusal of a link whose site does not let it lead to `target`, an address; None if it does."""
    if terms is None:
        return unknown_site(0, spelt)
    parts = urlsplit(target)
    end = origin(f"{parts.scheme}://{parts.netloc}")
    if end in terms.redirects:
        return None
    detail = f"links of {terms.domain} may not redirect to {end[:100]}: add it to `redirects` in the sites file"
    return Refusal(0, Reason.NOT_ALLOWED, detail)


def unknown_site(index: int, domain: str) -> Refusal:
    """Return the refusal of the event at `index`, whose site is not in the sites file."""
    if not domain:
        detail = "the request names no site that is known here: send its domain, or put the id or key among its `ids`"
        return Refusal(index, Reason.UNKNOWN_SITE, f"{detail} or `write_keys` in the sites file")
    name = domain[:253]
    command = f"`footfall site add {name}`" if is_domain(name) else "`footfall site add DOMAIN`"
    return Refusal(index, Reason.UNKNOWN_SITE, f"{name!r} is not a site here: add it with {command}")


def _wrong_origin(origin: bytes, site: Site) -> tuple[Reason, str]:
    shown = origin.decode("latin-1")[:100]
    return Reason.WRONG_ORIGIN, f"{shown!r} is not among the origins of {site.domain}: add it in the sites file"


def _is_key(authorization: bytes, site: Site) -> bool:
    kind, _, key = authorization.partition(b" ")
    given = key.strip()
    return kind.lower() == b"bearer" and any(hmac.compare_digest(given, each.encode()) for each in site.secrets)
