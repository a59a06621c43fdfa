"""What somebody may do: a role, for one site or for all of them.

An owner may do everything, an admin reads and changes sites, a viewer reads them. Only all sites together have owners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from stores.base import StoreError

ALL = "*"  # in place of a site: every site, also those that are added later


class AccountRefused(StoreError):
    """What was asked of the accounts cannot be done; the message says why, and what can."""


class Role(StrEnum):
    """What somebody may do with a site."""

    VIEWER = "viewer"
    ADMIN = "admin"
    OWNER = "owner"

    def covers(self, other: Role) -> bool:
        """Whether this role may do whatever `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Grants(Mapping[str, Role]):
    """The roles of one user or token: site, or `ALL`, to role. Raises `AccountRefused` for an owner of one site."""

    def __init__(self, roles: Mapping[str, Role]) -> None:
        for site, role in roles.items():
            if role is Role.OWNER and site != ALL:
                raise AccountRefused(f"an owner owns all sites, not {site} alone: make it an admin of {site}")
        self._roles = dict(roles)

    def __getitem__(self, site: str) -> Role:
        return self._roles[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self._roles)

    def __len__(self) -> int:
        return len(self._roles)

    def over(self, site: str) -> Role | None:
        """The role for a site, or for `ALL`; None if there is none. Of two roles the one that may do more."""
        found = [self._roles[each] for each in {site, ALL} if each in self._roles]
        return max(found, key=list(Role).index, default=None)

    def allow(self, role: Role, site: str) -> bool:
        """Whether these grants may do what `role` may do with this site, or with `ALL`."""
        held = self.over(site)
        return held is not None and held.covers(role)
