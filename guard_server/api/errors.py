"""What a client of our routes can be told, besides verdicts. Streams have more to tell: see stream_errors.py.

ApiError        an HTTP status and a code, with what to do
├── Invalid     the request says something that cannot be (400)
├── WrongKey    no key, or not ours (401)
├── UnknownModel  a model that the server does not have (404)
├── TooLarge    a body or a batch beyond the bounds (413)
├── Busy        too much waits already (503)
└── NoVerdict   the guard did not judge: nothing is known of the text (503)
"""

from http import HTTPStatus
from typing import Any, ClassVar


class ApiError(Exception):
    """Sent as OpenAI's error object (platform.openai.com/docs/guides/error-codes)."""

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    close: ClassVar[int] = 1008
    """A WebSocket's close code (RFC 6455, section 7.4.1, and IANA's registry): "policy violation" by default."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        """The field that is at fault, if one is."""

    @property
    def body(self) -> dict[str, Any]:
        return error_body(self.status, str(self), self.code, self.param)


class Invalid(ApiError):
    status, code = HTTPStatus.BAD_REQUEST, "invalid_request"


class WrongKey(ApiError):
    status, code = HTTPStatus.UNAUTHORIZED, "invalid_api_key"


class UnknownModel(ApiError):
    status, code = HTTPStatus.NOT_FOUND, "model_not_found"


class TooLarge(ApiError):
    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"


class Busy(ApiError):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "busy"


class NoVerdict(ApiError):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "no_verdict"


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
