"""Tokens for SASL OAUTHBEARER: given, fetched from an OpenID Connect provider, or signed for Amazon MSK."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from base64 import urlsafe_b64decode
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from brokers.base import BadCredentials, BrokerError
from brokers.kafka.settings import KafkaSettings

Token = tuple[str, float]

_UNKNOWN_LIFE = 300.0  # seconds, of a token without an expiry


class Tokens:
    """Caches the token to log in with until four fifths of its life are over. Several threads may use it."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._token: Token = ("", 0.0)
        self._renew = 0.0

    def token(self) -> Token:
        """Return a token and the time when it expires, in Unix seconds. Raises `BadCredentials` if there is none."""
        with self._lock:
            now = time.time()
            if now >= self._renew:
                self._token = self._fetch()
                if self._token[1] <= now:
                    raise BadCredentials(f"{self._settings.shown}: the token has expired: give another one")
                self._renew = now + 0.8 * (self._token[1] - now)
            return self._token

    def _fetch(self) -> Token:
        if self._settings.sasl == "MSK-IAM":
            return _signed(self._settings)
        if self._settings.oidc:
            return _fetched(self._settings)
        return self._settings.token, _expiry(self._settings.token)


def _signed(settings: KafkaSettings) -> Token:
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
    except ModuleNotFoundError as missing:
        raise BrokerError(f"{settings.shown}: sasl=MSK-IAM needs: pip install 'footfall[msk]'") from missing
    try:
        token, expires_ms = MSKAuthTokenProvider.generate_auth_token(settings.region)
    except Exception as error:  # botocore has many, and the signer raises bare ones for missing credentials
        raise BadCredentials(
            f"{settings.shown}: no token could be signed for AWS ({error}): give this process AWS credentials"
        ) from error
    return token, expires_ms / 1000


def _fetched(settings: KafkaSettings) -> Token:
    """Return a token by the client-credentials grant of OAuth 2."""
    form = {"grant_type": "client_credentials", "client_id": settings.username, "client_secret": settings.password}
    if settings.scope:
        form["scope"] = settings.scope
    if not settings.oidc.startswith(("https://", "http://")):
        raise BrokerError(f"{settings.shown}: oidc= has to be an https:// URL")
    request = urllib.request.Request(settings.oidc, urlencode(form).encode(), {"Accept": "application/json"})  # noqa: S310  http(s)
    try:
        with urllib.request.urlopen(request, timeout=settings.timeout) as answer:  # noqa: S310
            found = json.load(answer)
        token = str(found["access_token"])
    except (URLError, OSError, ValueError, KeyError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is an answer, which holds its connection
        raise BadCredentials(
            f"{settings.shown}: {settings.oidc} gives no token for {settings.username} ({error}): check the client's"
            " id and secret among the secrets, and the URL"
        ) from error
    return token, time.time() + float(found.get("expires_in", _UNKNOWN_LIFE))


def _expiry(token: str) -> float:
    """Return the `exp` of a JSON Web Token, or a guess for any other token."""
    try:
        body = token.split(".")[1]
        return float(json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return time.time() + _UNKNOWN_LIFE
