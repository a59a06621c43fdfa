"""What each route needs of who asks it: the one table, and how it is compared with somebody's roles.

Every endpoint of the application has a line in `NEEDS`. One without a line is refused to everybody, owners included,
and tests/dashboards/access/test_routes.py fails. A route with `site` in its path or its query is `READS` or `CHANGES`
of that site; whoever has no role there gets the answer that an unknown site gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from flask import g, request
from werkzeug.exceptions import Forbidden

from stores.accounts.roles import ALL, Grants, Role
from stores.accounts.shares import Share
from stores.accounts.users import User


class Over(Enum):
    """What the role of a need has to be over."""

    NOTHING = auto()  # anybody may, without a secret
    ANYTHING = auto()  # who is let in at all may, and sees what the roles allow
    SITE = auto()  # the site of the request
    ALL_SITES = auto()


@dataclass(frozen=True)
class Need:
    """The role that a route needs and over what, and the scope that a token needs; "" if no token is enough."""

    over: Over
    role: Role = Role.VIEWER
    scope: str = ""


OPEN = Need(Over.NOTHING)
SIGNED_IN = Need(Over.ANYTHING, scope="read")
READS = Need(Over.SITE, scope="read")
CHANGES = Need(Over.SITE, Role.ADMIN, "write")
READS_ALL = Need(Over.ALL_SITES, scope="read")
ASKS_ALL = Need(Over.ALL_SITES, scope="sql")
CHANGES_ALL = Need(Over.ALL_SITES, Role.ADMIN, "write")
KEEPS = Need(Over.SITE)  # for oneself; for all who see the site, the route asks for `CHANGES` too
OWN_ACCOUNT = Need(Over.ANYTHING)
OWNS = Need(Over.ALL_SITES, Role.OWNER)

READS_BY_POST = {ASKS_ALL}  # what is no change, whatever the method

NEEDS = {
    "static": OPEN,
    "health.live": OPEN,
    "health.ready": OPEN,
    "health.metrics": READS_ALL,
    "control.control": OPEN,  # it asks for a token of its own
    "login.show": OPEN,
    "login.enter": OPEN,
    "login.leave": OPEN,
    "guests.enter": OPEN,  # it asks for a share and its password
    "provider.leave": OPEN,
    "provider.come_back": OPEN,
    "account.show": OWN_ACCOUNT,
    "account.change": OWN_ACCOUNT,
    "people.show": OWNS,
    "people.change": OWNS,
    "tokens.show": OWNS,
    "tokens.change": OWNS,
    "audit.show": OWNS,
    "ops.show": READS_ALL,
    "ops.tell": READS_ALL,
    "letters.show": CHANGES_ALL,
    "letters.change": CHANGES_ALL,
    "alerts.show": CHANGES,
    "alerts.change": CHANGES,
    "reports.show": CHANGES,
    "reports.change": CHANGES,
    "reports.ask": OPEN,  # the key in its address is what lets in
    "reports.unsubscribe": OPEN,
    "pages.home": SIGNED_IN,
    "pages.board": READS,
    "pages.add": CHANGES_ALL,
    "lists.whole": READS,
    "lists.card": READS,
    "lists.download": READS,
    "views.live": READS,
    "views.watch": READS,
    "views.visits": READS,
    "views.visit": READS,
    "views.paths": READS,
    "views.funnel": READS,
    "views.add_step": READS,
    "views.searches": READS,
    "views.retention": READS,
    "chips.add": READS,
    "now.now": READS,
    "annotations.change": CHANGES,
    "saved.show": READS,
    "shares.show": CHANGES,
    "shares.change": CHANGES,
    "saved.change": KEEPS,
    "openapi.show": SIGNED_IN,
    "api.stats": READS,
    "api.timeseries": READS,
    "api.breakdown": READS,
    "api.realtime": READS,
    "api.visits": READS,
    "api.visit": READS,
    "api.funnel": READS,
    "api.annotated": READS,
    "api.goals": READS,
    "api.paths": READS,
    "api.searches": READS,
    "api.retention": READS,
    "exports.rows": READS,
    "clickhouse.ask": ASKS_ALL,
    "clickhouse.ping": OPEN,
    "sql.ask": ASKS_ALL,
    "sql.explain": SIGNED_IN,
}


@dataclass(frozen=True)
class Principal:
    """Who sent a request: a user, the bearer of a token, or the guest of a share. `scopes` None is every scope."""

    name: str
    grants: Grants
    user: User | None = None
    scopes: frozenset[str] | None = None
    share: Share | None = None


ANYBODY = Principal("anybody", Grants({ALL: Role.OWNER}))  # where no secret is needed


def principal() -> Principal | None:
    """Who sent this request; None if that is not known, or not asked."""
    found: Principal | None = g.get("principal")
    return found


def sees(site: str) -> bool:
    """Whether who sent this request may know of this site."""
    found = principal()
    return found is not None and found.grants.over(site) is not None


def may(endpoint: str, site: str = ALL) -> bool:
    """Whether who sent this request may use another route, of a site or of all, for a page that leads there."""
    found = principal()
    return found is not None and _lacks(found, NEEDS[endpoint], site) is None


def check(found: Principal, need: Need, site: str | None) -> None:
    """Raises `Forbidden` in words if this is not enough for a need. `site` is that of the request, if it is of one."""
    lack = _lacks(found, need, site if need.over is Over.SITE and site is not None else ALL)
    if lack is not None:
        raise Forbidden(lack)


def _lacks(found: Principal, need: Need, site: str) -> str | None:
    """What is missing, in words."""
    if found.scopes is not None and need.scope not in found.scopes:
        if not need.scope:
            return "a token may not do this: sign in as a user who may"
        return f"this token has not the scope {need.scope!r}: make one that has, by footfall token add"
    if need.over is Over.ANYTHING or found.grants.allow(need.role, site):
        return None
    if need.over is Over.SITE:
        return f"this needs the role {need.role} for {site}: an owner gives it, by footfall user role"
    if need.scope == "sql":
        return "SQL reads every site, and you may read some of them only: ask the stats API instead"
    if need.role is Role.VIEWER:
        return "this tells about every site, and you may read some of them only"
    return f"this needs the role {need.role} for all sites: an owner gives it, by footfall user role"


def site_of_request() -> str | None:
    """The site that this request is about, by its path or its query."""
    named = (request.view_args or {}).get("site") or request.args.get("site")
    return named if isinstance(named, str) else None
