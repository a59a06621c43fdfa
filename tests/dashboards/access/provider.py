"""A small OpenID Connect provider, made of Authlib's server side: it lets everybody in as `claims` say."""

from __future__ import annotations

import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import AuthorizationCodeMixin, OpenIDCode, UserInfo
from flask import Flask, Response, jsonify, request
from joserfc.jwk import RSAKey

CLIENT, SECRET = "footfall", "a secret of the client"


class Client(ClientMixin):
    """The one client, which may come back to any address that it names."""

    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return True

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


class Code(AuthorizationCodeMixin):
    """A code with what was asked for."""

    def __init__(self, asked: Any) -> None:
        data = asked.payload.data
        self.redirect_uri, self.scope, self.nonce = asked.payload.redirect_uri, asked.payload.scope, data.get("nonce")
        self.code_challenge = data.get("code_challenge")
        self.code_challenge_method = data.get("code_challenge_method")

    def get_redirect_uri(self) -> str:
        return str(self.redirect_uri)

    def get_scope(self) -> str:
        return str(self.scope)

    def get_nonce(self) -> Any:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> str:
        return "0"

    def get_amr(self) -> None:
        return None


class World:
    """What a test sets before somebody comes: claims of the token and of the userinfo, and what is forged."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.told: dict[str, Any] = {}
        self.issuer = self.audience = self.nonce = ""
        self.forged = False
        self.verifiers: list[str] = []


def create(address: str, world: World) -> Flask:
    """The provider at this address."""
    app = Flask("provider")
    key, other = (RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}) for _ in range(2))
    codes: dict[str, Code] = {}

    class Grant(AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]

        def save_authorization_code(self, code: str, request: Any) -> None:
            codes[code] = Code(request)

        def query_authorization_code(self, code: str, client: Any) -> Code | None:
            return codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            codes.clear()

        def authenticate_user(self, authorization_code: Code) -> str:
            return "somebody"

    class Tokens(OpenIDCode):
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return False

        def resolve_client_private_key(self, client: Any) -> RSAKey:
            return other if world.forged else key

        def get_encode_header(self, client: Any) -> dict[str, str]:
            return {"alg": "RS256", "kid": "one"}

        def get_client_claims(self, client: Any) -> dict[str, Any]:
            return {"iss": world.issuer or address, "aud": [world.audience or CLIENT]}

        def generate_user_info(self, user: str, scope: str) -> UserInfo:
            return UserInfo({"sub": user, **world.claims} | ({"nonce": world.nonce} if world.nonce else {}))

    server = AuthorizationServer(app, query_client=lambda name: Client() if name == CLIENT else None)
    server._save_token = lambda token, request: None
    server.register_grant(Grant, [CodeChallenge(required=True), Tokens()])

    @app.get("/.well-known/openid-configuration")
    def metadata() -> Response:
        return jsonify(
            issuer=address,
            authorization_endpoint=f"{address}/authorize",
            token_endpoint=f"{address}/token",
            userinfo_endpoint=f"{address}/userinfo",
            jwks_uri=f"{address}/keys",
            id_token_signing_alg_values_supported=["RS256"],
        )

    @app.get("/keys")
    def keys() -> Response:
        return jsonify(keys=[key.as_dict(private=False)])

    @app.get("/authorize")
    def authorize() -> Response:
        grant = server.get_consent_grant(end_user="somebody")
        answer: Response = server.create_authorization_response(grant_user="somebody", grant=grant)
        return answer

    @app.post("/token")
    def token() -> Response:
        world.verifiers.append(request.form.get("code_verifier", ""))
        answer: Response = server.create_token_response()
        return answer

    @app.get("/userinfo")
    def userinfo() -> Response:
        return jsonify(world.told)

    return app
