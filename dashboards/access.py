"""Who may use the dashboards port, and the login page.

Three checks come before everything else in a request:

1. The `Host` must be in a closed list, so that a foreign name that resolves to this machine (DNS rebinding) is
   refused. `/live` and `/ready` answer under any name, because they reveal nothing and an orchestrator calls them by
   address. `/metrics` also answers under any bare address, which no foreign page can claim as its own.
2. A request that a page of another site made a browser send is refused, except for links. `Sec-Fetch-Site` shows it,
   or else `Origin` or `Referer`. Clients that send none of these are not browsers and pass.
3. If there is a secret, every request must show it: as the cookie of `/login`, `Authorization: Bearer`, HTTP Basic
   (any user, the secret as password) or ClickHouse's `X-ClickHouse-Key`. The probes, the login page and its style are
   open; `/control` has a token of its own. Loopback is no exception: behind a proxy on this machine, everybody comes
   from loopback.

An address that keeps sending wrong secrets is refused for a while, even with the right one.

`/login` exchanges the token, sent once in a form, for a cookie that is not the token; `/logout` drops the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, jsonify, redirect, render_template, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from werkzeug.wrappers import Response as Answer
from werkzeug.wrappers import Response as Redirect

from dashboards.clickhouse import errors
from dashboards.context import built

COOKIE = "footfall_session"
SESSION_SECONDS = 7 * 86_400
WRONG = (RateLimitItemPerMinute(10), RateLimitItemPerHour(100))  # wrong secrets from one address before it has to wait

_SAFE = {"GET", "HEAD", "OPTIONS"}
_OWN = {"same-origin", "none"}
_EMBEDDED = {"iframe", "frame", "object", "embed"}
_UNNAMED = {"health.live", "health.ready"}
_OPEN = _UNNAMED | {"static", "login.show", "login.enter", "login.leave"}
_OTHER_SECRET = {"control"}  # blueprints with a secret of their own
_SUBNET = 48  # bits of an IPv6 address: the network that a provider gives one customer


@dataclass(frozen=True)
class Refusal:
    """A refused request: its HTTP status, and what to do, in words."""

    status: int
    words: str


class Access:
    """The access rules of one dashboards port.

    `hosts` are the names and addresses that it has besides loopback. `url` is where browsers reach the dashboards, if
    that is not where they listen. `secret` is "" if there is none. `client` returns the address of the sender, given
    the peer's address and the request's headers.
    """

    def __init__(
        self,
        hosts: Iterable[str] = (),
        *,
        url: str = "",
        secret: str = "",
        client: Callable[[str, list[tuple[bytes, bytes]]], str] = lambda peer, _: peer,
    ) -> None:
        self._url = urlsplit(url)
        named = {_plain(host) for host in (*hosts, self._url.hostname or "", "localhost")}
        self._hosts = named - {"", "0.0.0.0", "::"}  # noqa: S104 - nobody opens "everywhere" as an address
        self._secret = secret.encode()
        self._client = client
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        # Slow on purpose: otherwise somebody with a cookie could try short secrets against its signature. Derived and
        # not random, so that a new secret ends every session, but a restart or a second process ends none.
        key = hashlib.scrypt(self._secret, salt=b"footfall dashboards session", n=1 << 14, r=8, p=1) if secret else b""
        self._sessions = URLSafeTimedSerializer(key, salt="session", signer_kwargs={"digest_method": hashlib.sha256})

    @property
    def closed(self) -> bool:
        """Whether requests need a secret."""
        return bool(self._secret)

    def wrong_host(self, host: str, endpoint: str | None) -> Refusal | None:
        """The refusal of a request under a name that is not ours; None if the name is right."""
        name = _host(host)
        if endpoint in _UNNAMED or (endpoint == "health.metrics" and _address(name) is not None):
            return None
        if name and (name in self._hosts or _is_loopback(name)):
            return None
        return Refusal(
            421,
            f"no dashboards are served under the name {host[:200]!r}. If they are yours, start them with "
            "--dashboards-url (FOOTFALL_DASHBOARDS_URL) and the address that you opened",
        )

    def foreign(self, method: str, header: Callable[[str], str]) -> Refusal | None:
        """The refusal of a request that another site's page made a browser send; None if it may pass, as links may."""
        site, mode = header("Sec-Fetch-Site"), header("Sec-Fetch-Mode")
        if site:
            followed = method in _SAFE and mode == "navigate" and header("Sec-Fetch-Dest") not in _EMBEDDED
            own = site in _OWN or followed
        else:
            origin = header("Origin") or _origin(header("Referer"))
            own = method in _SAFE or not origin or origin.lower() in self._origins(header("Host"))
        return None if own else Refusal(403, "a page of another site sent this; only the dashboards' own pages may")

    def _origins(self, host: str) -> set[str]:
        return {f"http://{host}".lower(), f"{self._url.scheme}://{self._url.netloc}".lower()} - {"://"}

    def admits(self, offered: str) -> bool:
        """Whether `offered` is the secret; compares in constant time."""
        return self.closed and hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), self._secret)

    def waits(self, who: str) -> Refusal | None:
        """The refusal of an address that sent too many wrong secrets; None if it need not wait."""
        if all(self._limiter.test(item, _network(who)) for item in WRONG):
            return None
        return Refusal(429, "too many wrong tokens from this address; try again in a minute, later after many more")

    def count_wrong(self, who: str) -> None:
        """Counts a wrong secret from this address."""
        for item in WRONG:
            self._limiter.hit(item, _network(who))

    def new_session(self) -> str:
        """A new session's cookie: a signed random value."""
        return str(self._sessions.dumps(secrets.token_urlsafe(9)))

    def knows(self, session: str) -> bool:
        """Whether this is a session that was made here and has not expired."""
        try:
            self._sessions.loads(session, max_age=SESSION_SECONDS)
        except BadData:
            return False
        return self.closed

    def encrypted(self, host: str) -> bool:
        """Whether browsers use https for this name."""
        return self._url.scheme == "https" and _host(host) == _plain(self._url.hostname or "")

    def who(self) -> str:
        """The address of this request's sender."""
        forwarded = [(b"x-forwarded-for", value.encode()) for value in request.headers.getlist("X-Forwarded-For")]
        return self._client(request.remote_addr or "", forwarded)


def guard(app: Flask, access: Access) -> None:
    """Checks every request to `app` before its route runs."""
    app.extensions["access"] = access

    def header(name: str) -> str:
        return request.headers.get(name, "")

    @app.before_request
    def look() -> Answer | None:
        method = "POST" if _is_statement() else request.method  # no link leads to a statement
        refusal = access.wrong_host(header("Host"), request.endpoint) or access.foreign(method, header)
        if refusal is None and access.closed and request.endpoint not in _OPEN and not _asks_for_its_own():
            return _let_in(access)
        return refuse(refusal) if refusal else None

    @app.context_processor
    def signed_in() -> dict[str, bool]:
        return {"signed_in": access.closed and access.knows(request.cookies.get(COOKIE, ""))}


def refuse(refusal: Refusal) -> Response:
    """The response for a refusal: JSON for the API, ClickHouse's form for its clients, plain text otherwise."""
    if request.path.startswith("/api/"):
        response = jsonify(error=refusal.words)
    elif _is_statement():
        response = errors.refused(refusal.words, "AUTHENTICATION_FAILED")
    else:
        response = Response(f"{refusal.words}\n", content_type="text/plain; charset=utf-8")
    response.status_code = refusal.status
    if refusal.status == 401:
        # Not Basic, although we accept it: a browser would open a dialog for it.
        response.headers["WWW-Authenticate"] = 'Bearer realm="Footfall"'
    if refusal.status == 429:
        response.headers["Retry-After"] = "60"
    return response


def _is_statement() -> bool:
    """Whether this is a request in ClickHouse's protocol."""
    return request.path == "/" and (request.method == "POST" or "query" in request.args)


def _asks_for_its_own() -> bool:
    return request.blueprint in _OTHER_SECRET


def _let_in(access: Access) -> Answer | None:
    """None if the request has the secret or a session, else the response that refuses it."""
    if access.knows(request.cookies.get(COOKIE, "")):
        return None
    offered = _offered()
    if offered is not None:
        who = access.who()
        if (waiting := access.waits(who)) is not None:
            return refuse(waiting)
        if access.admits(offered):
            return None
        access.count_wrong(who)
        return refuse(Refusal(401, "this is not the dashboards' token"))
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        return redirect(url_for("login.show", next=request.full_path.rstrip("?")), 303)
    ways = "as Authorization: Bearer TOKEN, or as the password of HTTP Basic"
    return refuse(Refusal(401, f"the dashboards ask for their token: send it {ways}"))


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


def _origin(address: str) -> str:
    """The origin of an address; "" for an empty address."""
    try:
        split = urlsplit(address)
    except ValueError:
        return "null"
    return f"{split.scheme}://{split.netloc}" if address else ""


def _host(header: str) -> str:
    """The name or address in a Host header, without the port; "" if it is malformed."""
    try:
        split = urlsplit(f"//{header}")
        _ = split.port  # raises unless it is a number
        if split.netloc != header or split.username is not None or "[" in header[1:]:
            return ""
        return _plain(split.hostname or "")
    except ValueError:
        return ""


def _plain(host: str) -> str:
    """The canonical spelling of a name or an address."""
    address = _address(host.strip("[]"))
    if address is not None:
        return str(address)
    try:
        return host.lower().encode("idna").decode()
    except UnicodeError:
        return host.lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback


def _network(who: str) -> str:
    """The network of an address that one attacker can have many of, else the address."""
    address = _address(who)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address), _SUBNET), strict=False))
    return who


routes = Blueprint("login", __name__)


def _access() -> Access:
    found: Access = current_app.extensions["access"]
    return found


@routes.get("/login")
def show() -> str | Response | Redirect:
    access, target = _access(), _own_path(request.args.get("next", ""))
    if not access.closed or access.knows(request.cookies.get(COOKIE, "")):
        return redirect(target, 303)
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        # They followed a link from another site, and such a request has no strict cookie. Repeat it from our own page.
        return render_template("again.html", target=target)
    return _page(target, "")


@routes.post("/login")
def enter() -> tuple[str, int] | Response | Redirect:
    access, target = _access(), _own_path(request.form.get("next", ""))
    if not access.closed:
        return redirect(target, 303)
    who = access.who()
    if (waiting := access.waits(who)) is not None:
        response = refuse(waiting)
        response.set_data(_page(target, waiting.words))
        response.content_type = "text/html; charset=utf-8"
        return response
    if not access.admits(request.form.get("token", "").strip()):
        access.count_wrong(who)
        return _page(target, "This is not the token."), 401
    entered = redirect(target, 303)
    _set(entered, access.new_session(), SESSION_SECONDS)
    return entered


@routes.post("/logout")
def leave() -> Redirect:
    left = redirect(url_for("login.show"), 303)
    _set(left, "", 0)
    return left


def _set(response: Redirect, session: str, seconds: int) -> None:
    secure = _access().encrypted(request.headers.get("Host", ""))
    response.set_cookie(COOKIE, session, max_age=seconds, httponly=True, samesite="Strict", secure=secure)


def _page(target: str, wrong: str) -> str:
    return render_template("login.html", title="Sign in", target=target, wrong=wrong, built=built())


def _own_path(target: str) -> str:
    """Where to go after the login: `target` if it is a path of these pages, else the home page."""
    own = target.startswith("/") and not target.startswith("//") and target.isprintable() and "\\" not in target
    return target if own else "/"
