"""Open WebUI's HTTP API with one account's token. Every failure is an error with its cause and its remedy."""

import re
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import httpx

from guard_server.errors import (
    NotAnAdmin,
    NotOpenWebui,
    TokenRefused,
    WebuiRefused,
    WebuiTooOld,
    WebuiUnreachable,
)

# The hook `request` of Functions, and answers that an outlet may change for good.
OLDEST = (0, 11, 2)
# An upload to a Pipelines server is answered when the file was loaded.
SECONDS = 120
_IDLE_SECONDS = 2
_LONGEST_REASON = 300
_ADMINS_ROUTE = "/api/v1/users/"
_USERS_ROUTE = "/api/v1/users/user/settings"
_UNREACHABLE = (
    "Is Open WebUI running, and is this its address as seen from this machine? From inside a container, localhost is "
    "the container."
)
_CERTIFICATE = "Name the file with the certificate of your own authority in the environment variable SSL_CERT_FILE."


class WebuiClient:
    """One account of one Open WebUI.

    Args:
        url: the address of the page, such as http://localhost:3000.
        token: an API key or a session token; empty before a sign-in. No message repeats it.
        seconds: time limit for one reply.
        trust_env: whether a proxy of the environment is used.
        idle_seconds: time that an idle connection is kept; by default shorter than the five seconds after which
            uvicorn, and so Open WebUI, closes it.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        seconds: float = SECONDS,
        *,
        trust_env: bool = True,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self.url = _address(url)
        self.seconds = seconds
        # A cookie of an earlier reply would go on naming its account.
        none = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        try:
            self.http = httpx.Client(
                base_url=self.url,
                timeout=seconds,
                trust_env=trust_env,
                cookies=none,
                limits=httpx.Limits(keepalive_expiry=idle_seconds),
            )
        except (ValueError, ImportError) as error:
            # Such as a SOCKS proxy, for which httpx needs another package.
            raise WebuiUnreachable(
                f"The proxy that the environment names cannot be used: {error}",
                "Correct or remove HTTP_PROXY, HTTPS_PROXY and ALL_PROXY for this command.",
            ) from None
        self.use(token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def use(self, token: str) -> None:
        """Asks with this token from now on."""
        self.token = token
        if token:
            self.http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, params=query)

    def post(self, path: str, body: object) -> Any:
        return self.call("POST", path, json=body)

    def delete(self, path: str, body: object = None) -> Any:
        return self.call("DELETE", path, json=body)

    def upload(self, path: str, form: dict[str, str], name: str, content: bytes) -> Any:
        return self.call("POST", path, data=form, files={"file": (name, content, "text/x-python")})

    def call(self, method: str, path: str, **content: Any) -> Any:
        """The JSON of the reply.

        Raises:
            WebuiError
        """
        response = self.reply(method, path, **content)
        if response.is_error:
            raise self._refused(response)
        try:
            return response.json()
        except ValueError:
            raise NotOpenWebui(
                f"{self.url}{path} answered with something that is not JSON.",
                "Check --webui: another program, or a sign-in page of a proxy, answers at this address.",
            ) from None

    def reply(self, method: str, path: str, **content: Any) -> httpx.Response:
        """The reply, whatever its status.

        Raises:
            WebuiUnreachable
        """
        try:
            return self._sent(method, path, **content)
        except httpx.TimeoutException:
            raise WebuiUnreachable(
                f"{self.url} did not answer {method} {path} in {self.http.timeout.read:g} s.",
                "See Open WebUI's log: it may be overloaded, or wait for one of its connections.",
            ) from None
        except httpx.RequestError as error:
            words = str(error) or type(error).__name__
            raise WebuiUnreachable(
                f"{self.url} cannot be reached: {words}", _CERTIFICATE if "CERTIFICATE" in words else _UNREACHABLE
            ) from None

    def _sent(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self.http.request(method, path, **content)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            # The server, or a proxy in front of it, may have closed the connection just as it was used again.
            if method != "GET":
                raise
            return self.http.request(method, path, **content)

    def version(self) -> str:
        """Raises NotOpenWebui, WebuiUnreachable."""
        path = "/api/version"
        response = self.reply("GET", path)
        if response.next_request is not None:
            raise _elsewhere(self.url, str(response.next_request.url), path)
        if response.is_server_error:
            raise WebuiUnreachable(
                f"{self.url} answers {response.status_code}: {self._reason(response)}",
                "Is Open WebUI running? A proxy in front of it answers like this if it is not, or is still starting.",
            )
        try:
            version = response.json()["version"] if response.is_success else None
        except (ValueError, KeyError, TypeError):
            version = None
        if not isinstance(version, str):
            raise NotOpenWebui(
                f"{self.url} is no Open WebUI: {path} answers {response.status_code} without a version.",
                "Check --webui: it is the address of the page, without /api or another path.",
            )
        return version

    def check_admin(self) -> None:
        """Raises a WebuiError unless the version is new enough and the token is an admin's."""
        version = self.version()
        if version_numbers(version) < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise WebuiTooOld(
                f"This Open WebUI is {version}.", f"Upgrade it: {wanted} is the oldest that is supported."
            )
        response = self.reply("GET", _ADMINS_ROUTE)
        if response.is_success:
            return
        if response.status_code not in (401, 403):
            raise self._refused(response)
        reason = self._reason(response)
        if response.status_code == 403:
            raise TokenRefused(
                f"Open WebUI does not let this token in: {reason}",
                "Allow API keys, without restricted endpoints (Admin Panel > Settings > Authentication), or give the "
                "session token of the page: the value of `token` in the browser's local storage.",
            )
        if self.reply("GET", _USERS_ROUTE).is_success:
            raise NotAnAdmin("This token belongs to an account that is not an admin.", "Give the token of an admin.")
        raise TokenRefused(
            f"Open WebUI does not know this token ({response.status_code}): {reason}",
            "It may have expired, or be cut off: copy it again. An account that waits for approval has no access.",
        )

    def check_user(self) -> None:
        """Raises a WebuiError unless the token is that of an ordinary user."""
        if self.reply("GET", _ADMINS_ROUTE).is_success:
            raise TokenRefused(
                "The token of the user to ask as is an admin's, who may use every model.",
                "Give one of an ordinary user.",
            )
        response = self.reply("GET", _USERS_ROUTE)
        if response.is_error:
            raise TokenRefused(
                f"Open WebUI does not let the user in whose token is given ({response.status_code}): "
                f"{self._reason(response)}",
                "The token may have expired, or its account waits for approval.",
            )

    def _refused(self, response: httpx.Response) -> WebuiRefused:
        asked = f"{response.request.method} {response.request.url.path}"
        return WebuiRefused(
            f"Open WebUI answered {asked} with {response.status_code}: {self._reason(response)}",
            "Open WebUI's log has more about it.",
            response.status_code,
        )

    def _reason(self, response: httpx.Response) -> str:
        """Open WebUI's own words, cut and without the token."""
        try:
            said = response.json()
            text = str(said.get("detail", said) if isinstance(said, dict) else said)
        except ValueError:
            text = response.text
        safe = text.replace(self.token, "…") if self.token else text
        return " ".join(safe.split())[:_LONGEST_REASON] or "no reason is given"


def _address(url: str) -> str:
    """Without a slash at its end, as others write it too. Raises NotOpenWebui."""
    example = "Give --webui the address of the page, such as http://localhost:3000."
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        # No message repeats it: it may have a password.
        raise NotOpenWebui(f"What --webui says is no address: {error}", example) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise NotOpenWebui("What --webui says is no address.", example)
    if parsed.userinfo:
        raise NotOpenWebui(
            "The address has a user name or a password.",
            f"{example} The token takes their place: Open WebUI cannot be asked through a proxy with a password.",
        )
    return str(parsed.copy_with(query=None, fragment=None)).rstrip("/")


def _elsewhere(url: str, target: str, path: str) -> NotOpenWebui:
    cause = f"{url} sends its clients on to {target.removesuffix(path)}."
    if target.endswith(path):
        return NotOpenWebui(cause, f"Give that address: --webui {target.removesuffix(path)}")
    return NotOpenWebui(
        cause, "Give an address that leads to Open WebUI itself: programs cannot pass a sign-in page before it."
    )


def version_numbers(version: str) -> tuple[int, ...]:
    """`0.12.4` and `0.12.4.dev1` as (0, 12, 4)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
