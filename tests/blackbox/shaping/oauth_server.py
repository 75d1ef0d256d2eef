"""A server of OAuth 2.0 client credentials by Authlib, with a receiver at /hook that takes its
tokens. Writes its port into the file that is named."""

import os
import sys
import tempfile
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from flask import Flask
from werkzeug.serving import make_server

TOKENS = {}


class Client(ClientMixin):
    client_id = "outboxd"

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return scope if scope == "hooks" else ""

    def check_redirect_uri(self, uri):
        return False

    def check_client_secret(self, secret):
        return secret == "hush-hush:& 1"

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, kind):
        return False

    def check_grant_type(self, kind):
        return kind == "client_credentials"


class Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class Token:
    def __init__(self, token):
        self.scope = token.get("scope", "")
        self.expires_at = time.time() + token["expires_in"]

    def get_scope(self):
        return self.scope

    def is_expired(self):
        return time.time() > self.expires_at

    def is_revoked(self):
        return False


class Validator(BearerTokenValidator):
    def authenticate_token(self, text):
        return TOKENS.get(text)


app = Flask(__name__)
server = AuthorizationServer(
    app,
    query_client=lambda name: Client() if name == Client.client_id else None,
    save_token=lambda token, request: TOKENS.update({token["access_token"]: Token(token)}),
)
server.register_grant(Grant)
protect = ResourceProtector()
protect.register_token_validator(Validator())


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/hook")
@protect("hooks")
def hook():
    return "", 204


@app.post("/revoke")
def revoke():
    TOKENS.clear()
    return "", 204


http = make_server("127.0.0.1", 0, app, threaded=True)
with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(sys.argv[1]), delete=False) as file:
    file.write(str(http.server_port))
os.rename(file.name, sys.argv[1])
http.serve_forever()
