"""Open WebUI's HTTP API, with one signed-in account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from demo.errors import SetupFailed
from demo.state import State

# Timeout. For an upload, the Pipelines server first installs what the file requires and then answers.
SECONDS = 300


@dataclass(frozen=True)
class Account:
    """The data of an account, to sign in with."""

    name: str
    email: str
    password: str

    @classmethod
    def admin(cls, state: State) -> Account:
        return cls("Demo admin", "admin@localhost", state.secret("admin_password"))

    @classmethod
    def user(cls, state: State) -> Account:
        """An ordinary user without admin rights."""
        return cls("Demo user", "user@localhost", state.secret("user_password"))


class WebuiApi:
    """Calls with one account's token. Each error reply raises `SetupFailed` with Open WebUI's own message."""

    def __init__(self, base_url: str) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=SECONDS, trust_env=False)
        self.token = ""

    def __enter__(self) -> WebuiApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def sign_in(self, account: Account) -> str:
        """Signs in and returns the token that the page keeps in its local storage."""
        return self._use(self.post("/api/v1/auths/signin", {"email": account.email, "password": account.password}))

    def sign_up(self, account: Account) -> str:
        """Creates the account and signs in. The first account of a new Open WebUI is its admin."""
        form = {"name": account.name, "email": account.email, "password": account.password}
        return self._use(self.post("/api/v1/auths/signup", form))

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: object) -> Any:
        return self._call("POST", path, json=body)

    def upload(self, path: str, form: dict[str, str], name: str, content: bytes) -> Any:
        return self._call("POST", path, data=form, files={"file": (name, content, "text/x-python")})

    def _use(self, session: Any) -> str:
        self.token = str(session["token"])
        self.http.headers["Authorization"] = f"Bearer {self.token}"
        # Without cookies: one from an earlier account would stay after a change of account.
        self.http.cookies.clear()
        return self.token

    def _call(self, method: str, path: str, **content: Any) -> Any:
        try:
            response = self.http.request(method, path, **content)
        except httpx.TransportError as error:
            raise SetupFailed(f"Open WebUI: {method} {path}: {error!r}") from error
        if response.is_error:
            raise SetupFailed(f"Open WebUI: {method} {path}: {response.status_code}: {response.text[:500]}")
        return response.json()
