"""The account that the check asks with: one of its own, which it removes again."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from guard_server.errors import TokenRefused, WebuiRefused
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Body

_NAME = "Qwen3Guard protection check"
_DOMAIN = "@qwen3guard-check.invalid"
# Of a check that was killed. Younger ones may be in use.
_LEFT_BEHIND_SECONDS = 3600
_ANOTHER_ACCOUNT = "Give the token of a user to ask as: --user-token-file."


@contextmanager
def ordinary_user(admin: WebuiClient, token: str | None) -> Iterator[WebuiClient]:
    """A user without any rights but the default ones; the one of `token`, if it is given.

    Raises:
        WebuiError
    """
    if token is not None:
        with WebuiClient(admin.url, token, admin.seconds) as user:
            user.check_user()
            yield user
        return
    _remove_left_behind(admin)
    form = {
        "name": _NAME,
        "email": f"{secrets.token_hex(8)}{_DOMAIN}",
        # No longer than what bcrypt takes, with all kinds of characters that a policy may want.
        "password": f"Aa1!{secrets.token_urlsafe(24)}",
        "role": "user",
    }
    account = _asked(admin, "/api/v1/auths/add", form)
    try:
        # With a second factor for everybody, Open WebUI gives no token here.
        session = account.get("token") or _signed_in(admin, form)
        with WebuiClient(admin.url, session, admin.seconds) as user:
            yield user
    finally:
        # Its chats go with it.
        admin.delete(f"/api/v1/users/{account['id']}")


def _signed_in(admin: WebuiClient, form: dict[str, str]) -> str:
    signed_in = _asked(admin, "/api/v1/auths/signin", {"email": form["email"], "password": form["password"]})
    if not signed_in.get("token"):
        raise TokenRefused(
            "This Open WebUI lets the check's own account in with a second factor only.", _ANOTHER_ACCOUNT
        )
    return str(signed_in["token"])


def _asked(admin: WebuiClient, path: str, form: dict[str, str]) -> Body:
    """A policy for passwords or sign-ins may refuse the account."""
    try:
        answer: Body = admin.post(path, form)
    except WebuiRefused as refused:
        raise WebuiRefused(refused.cause, _ANOTHER_ACCOUNT, refused.status) from None
    return answer


def _remove_left_behind(admin: WebuiClient) -> None:
    found = admin.get("/api/v1/users/", query=_DOMAIN)["users"]
    for account in found:
        age = time.time() - float(account.get("created_at") or 0)
        if str(account["email"]).endswith(_DOMAIN) and age > _LEFT_BEHIND_SECONDS:
            admin.delete(f"/api/v1/users/{account['id']}")
