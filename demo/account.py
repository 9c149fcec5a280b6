"""A user of Open WebUI, and the two that the demo makes."""

from __future__ import annotations

from dataclasses import dataclass

from demo.state import State


@dataclass(frozen=True)
class Account:
    """What one signs in with."""

    name: str
    email: str
    password: str

    @classmethod
    def admin(cls, state: State) -> Account:
        return cls("Demo admin", "admin@localhost", state.secret("admin_password"))

    @classmethod
    def user(cls, state: State) -> Account:
        """An ordinary user, without any right of an admin."""
        return cls("Demo user", "user@localhost", state.secret("user_password"))
