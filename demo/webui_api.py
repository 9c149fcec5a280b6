"""Open WebUI's HTTP API, as one signed-in account sees it."""

from __future__ import annotations

from typing import Any

import httpx

from demo.account import Account
from demo.errors import SetupFailed

# An upload makes the Pipelines server install what the file requires before it answers.
SECONDS = 300


class WebuiApi:
    """Calls with one account's token. Every refusal becomes `SetupFailed` with Open WebUI's own words."""

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
        """Makes the account and signs in; on an empty Open WebUI the first one is the admin."""
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
        # Only the token speaks for the account: a cookie would outlive a change of it.
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
