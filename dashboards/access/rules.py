"""Who may use the dashboards port, and how they show it.

There are two ways of asking. Without any user in the accounts, the secret of the settings is asked of everybody, or
nothing if there is none. With a user, everybody signs in by name and password, loopback included, because behind a
proxy on this machine everybody comes from loopback; the secret of the settings is then a token of an owner, for
programs. A first user is noticed at once.

Programs may have tokens of their own, each for some scopes and a site, wherever anything is asked for.

A secret comes as the cookie of `/login`, as `Authorization: Bearer`, as the password of HTTP Basic with any user, or
as ClickHouse's `X-ClickHouse-Key`. Who keeps sending wrong ones is refused for a while.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable

from flask import current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import NotFound

from dashboards.access.attempts import Attempts
from dashboards.access.hosts import Hosts, Refusal
from dashboards.access.needs import ANYBODY, Principal
from stores.accounts import Accounts
from stores.accounts.audit import AuditLog
from stores.accounts.roles import ALL, Grants, Role
from stores.accounts.users import SESSION_MS, User

COOKIE = "footfall_session"
SESSION_SECONDS = SESSION_MS // 1000

_OF_SETTINGS = Principal("the token of the settings", Grants({ALL: Role.OWNER}))


class Access:
    """The access rules of one dashboards port.

    `hosts` are the names and addresses that it has besides loopback. `url` is where browsers reach the dashboards, if
    that is not where they listen. `secret` is "" if there is none, `accounts` None if there can be no users, and
    `provider_name` that of the OpenID Connect provider, "" if there is none. `client` returns the address
    of the sender, given the peer's address and the request's headers.
    """

    def __init__(
        self,
        hosts: Iterable[str] = (),
        *,
        url: str = "",
        secret: str = "",
        accounts: Accounts | None = None,
        provider_name: str = "",
        client: Callable[[str, list[tuple[bytes, bytes]]], str] = lambda peer, _: peer,
    ) -> None:
        self.hosts = Hosts(hosts, url)
        self.url = url
        self.attempts = Attempts()
        self.provider_name = provider_name
        self.store = accounts  # also without a user
        self._secret = secret.encode()
        self._client = client
        # Slow on purpose: otherwise somebody with a cookie could try short secrets against its signature. Derived and
        # not random, so that a new secret ends every session, but a restart or a second process ends none.
        key = hashlib.scrypt(self._secret, salt=b"footfall dashboards session", n=1 << 14, r=8, p=1) if secret else b""
        self._sessions = URLSafeTimedSerializer(key, salt="session", signer_kwargs={"digest_method": hashlib.sha256})

    @property
    def accounts(self) -> Accounts | None:
        """The accounts, if there is a user in them."""
        return self.store if self.store is not None and self.store.users.any else None

    @property
    def log(self) -> AuditLog | None:
        """The audit log, if there is a user."""
        return self.accounts.audit if self.accounts is not None else None

    @property
    def closed(self) -> bool:
        """Whether requests need a secret."""
        return bool(self._secret) or self.accounts is not None

    def identify(self) -> Principal | Refusal | None:
        """Who sent this request; None if it shows nothing, the refusal if it shows what is wrong."""
        if not self.closed:
            return ANYBODY
        known = self.of_session(request.cookies.get(COOKIE, ""))
        if known is not None:
            return known
        offered = _offered()
        if offered is None:
            return None
        who = self.who()
        if (waiting := self.attempts.waits(who)) is not None:
            return waiting
        if self.admits(offered):
            return _OF_SETTINGS
        token = self.store.tokens.of_secret(offered) if self.store is not None else None
        if token is not None:
            return Principal(f"token {token.name}", token.grants, scopes=token.scopes)
        self.attempts.count_wrong(who)
        if self.log is not None:
            self.log.add("", who, "sent a wrong token", request.path)
        return Refusal(401, "this is not the dashboards' token")

    def admits(self, offered: str) -> bool:
        """Whether `offered` is the secret of the settings; compares in constant time."""
        return bool(self._secret) and hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), self._secret)

    def start_session(self, user: User | None = None) -> str:
        """A new session's cookie: of a user, or of somebody who knows the secret of the settings."""
        if user is not None and self.store is not None:
            return self.store.users.start_session(user)
        return str(self._sessions.dumps(secrets.token_urlsafe(9)))

    def of_session(self, session: str) -> Principal | None:
        """Whose session this is; None if it was not made here, or is over."""
        if not session:
            return None
        if (accounts := self.accounts) is not None:
            user = accounts.users.of_session(session)
            return Principal(user.name, user.grants, user) if user else None
        try:
            self._sessions.loads(session, max_age=SESSION_SECONDS)
        except BadData:
            return None
        return _OF_SETTINGS if self.closed else None

    def end_session(self, session: str) -> None:
        """Ends a user's session. The cookie of the settings' secret holds until it runs out."""
        if self.accounts is not None:
            self.accounts.users.end_session(session)

    def who(self) -> str:
        """The address of this request's sender."""
        forwarded = [(b"x-forwarded-for", value.encode()) for value in request.headers.getlist("X-Forwarded-For")]
        return self._client(request.remote_addr or "", forwarded)


def current_access() -> Access:
    """The rules of the application that handles this request."""
    found: Access = current_app.extensions["access"]
    return found


def current_accounts() -> Accounts:
    """The accounts of the application that handles this request, also if there is no user yet. Raises `NotFound`."""
    store = current_access().store
    if store is None:
        raise NotFound("there are no accounts here")
    return store


def _offered() -> str | None:
    """The secret in the request's headers; None if there is none."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return _text(rest.strip())
    if scheme.lower() == "basic":
        return (request.authorization and request.authorization.password) or ""
    key = request.headers.get("X-ClickHouse-Key")
    return None if key is None else _text(key)


def _text(header: str) -> str:
    """The UTF-8 text of a header that the server decoded as Latin-1."""
    return header.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
