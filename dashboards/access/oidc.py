"""Signing in at an OpenID Connect provider: `/login/provider` leads there, and the provider leads back.

Nobody becomes a user by it. Who comes back needs an account under the e-mail address that the provider says is
verified; roles are those of the account. The provider asks for second factors itself, so no code is asked for here.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, current_app, make_response, render_template, request, session, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as Answer

from dashboards.access import audit
from dashboards.access.login import own_path, remember, sign_in_page
from dashboards.access.rules import current_access
from stores.accounts.users import User, plain

log = logging.getLogger("footfall")

routes = Blueprint("provider", __name__)

_SECONDS = 5  # that each request to the provider may take
_TARGET = "target"


@dataclass(frozen=True)
class Provider:
    """The provider's address, and what it knows these dashboards by."""

    issuer: str  # without a slash at its end
    client_id: str
    secret: str = field(repr=False)

    @property
    def name(self) -> str:
        """What a person knows it by."""
        return urlsplit(self.issuer).hostname or self.issuer


def register(app: Flask, provider: Provider, url: str) -> None:
    """Has the application know its provider. `url` is where browsers reach the dashboards, "" if where they ask."""
    from authlib.integrations.flask_client import OAuth

    # The cookie of the way there and back. The provider's page leads back, so it cannot be strict; it opens nothing.
    app.secret_key = secrets.token_bytes(32)
    app.config.update(
        SESSION_COOKIE_NAME="footfall_provider",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=url.startswith("https:"),
    )
    known = OAuth(app).register(
        "provider",
        client_id=provider.client_id,
        client_secret=provider.secret,
        server_metadata_url=f"{provider.issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid email", "code_challenge_method": "S256", "default_timeout": _SECONDS},
    )
    app.extensions["provider"] = (known, provider, url)


@routes.get("/login/provider")
def leave() -> Answer | tuple[str, int]:
    """Leads to the provider."""
    client, _, url = _provider()
    target = own_path(request.args.get("next", ""))
    back = f"{url or request.host_url.rstrip('/')}{url_for('provider.come_back')}"
    try:
        there: Answer = client.authorize_redirect(back)
    except _errors() as error:
        log.warning("The provider of logins cannot be asked: %s", error)
        return sign_in_page(target, "The provider does not answer. Try again, or sign in by name and password."), 503
    session[_TARGET] = target
    return there


@routes.get("/login/provider/back")
def come_back() -> Answer | tuple[str, int]:
    """Lets in whom the provider sent back, if the account exists."""
    client, provider, _ = _provider()
    target = own_path(session.pop(_TARGET, ""))
    try:
        claims = _claims(client, provider)
    except _errors() as error:
        log.warning("The provider of logins let nobody in: %s", error)
        audit.record("did not sign in by the provider", who="an unknown name")
        return sign_in_page(target, "The provider did not let you in. Try again."), 401
    user = _user(claims)
    if user is None:
        audit.record("did not sign in by the provider", who="an unknown name")
        return sign_in_page(target, "Nobody here has this e-mail address, or the provider has not verified it."), 403
    audit.record("signed in by the provider", who=user.name)
    # The request comes from another site, and what follows it would have no strict cookie. Our own page goes on.
    entered = make_response(render_template("again.html", target=target))
    remember(entered, current_access().start_session(user))
    return entered


def _provider() -> tuple[Any, Provider, str]:
    found: tuple[Any, Provider, str] | None = current_app.extensions.get("provider")
    if found is None or current_access().accounts is None:
        raise NotFound("nobody signs in by a provider here: --oidc-issuer names one, and an owner adds the users")
    return found


def _claims(client: Any, provider: Provider) -> dict[str, Any]:
    """What the provider says of who came back. Raises one of `_errors`."""
    issuers = [provider.issuer, f"{provider.issuer}/"]
    token = client.authorize_access_token(claims_options={"iss": {"essential": True, "values": issuers}})
    claims = dict(token.get("userinfo") or {})
    if claims and "email" not in claims:  # some tell it only if they are asked
        more = dict(client.userinfo(token=token))
        return more if more.get("sub") == claims["sub"] else {}
    return claims


def _user(claims: dict[str, Any]) -> User | None:
    """The user of the claims' e-mail address; None if it is not verified, or nobody has it."""
    accounts, email = current_access().accounts, claims.get("email")
    if accounts is None or not isinstance(email, str) or claims.get("email_verified") not in (True, "true"):
        return None
    # An address that only looks like a user's name once it is normalised is another person's.
    if plain(email) != email.lower() or not accounts.users.has(email):
        return None
    user = accounts.users.get(email)
    return None if user.disabled else user


def _errors() -> tuple[type[Exception], ...]:
    from authlib.common.errors import AuthlibBaseError
    from joserfc.errors import JoseError
    from requests import RequestException

    # RuntimeError: the provider's description lacks something; ValueError: it is no JSON.
    return (AuthlibBaseError, JoseError, RequestException, RuntimeError, ValueError, KeyError)
