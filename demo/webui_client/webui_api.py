"""Open WebUI's HTTP API, with one signed-in account of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from demo.errors import SetupFailed
from demo.state import State
from guard_server.errors import WebuiError
from guard_server.open_webui.client import WebuiClient

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


class WebuiApi(WebuiClient):
    """The client of the commands, for accounts of the demo. Each error raises `SetupFailed` with its cause."""

    def __init__(self, base_url: str) -> None:
        # On a busy machine, an Open WebUI that could do nothing for seconds ends a connection just as it is used again.
        super().__init__(base_url, seconds=SECONDS, trust_env=False, idle_seconds=0)

    def sign_in(self, account: Account) -> None:
        self.use(self.post("/api/v1/auths/signin", {"email": account.email, "password": account.password})["token"])

    def sign_up(self, account: Account) -> None:
        """Creates the account and signs in. The first account of a new Open WebUI is its admin."""
        form = {"name": account.name, "email": account.email, "password": account.password}
        self.use(self.post("/api/v1/auths/signup", form)["token"])

    def call(self, method: str, path: str, **content: Any) -> Any:
        try:
            return super().call(method, path, **content)
        except WebuiError as error:
            raise SetupFailed(f"{error.cause} {error.remedy}") from error
