"""The errors that our routes send to clients. Streams have further errors: see stream_errors.py.

ApiError        an HTTP status, a code, and a message with the remedy
├── Invalid     the request is not valid (400)
├── WrongKey    no key, or a wrong one (401)
├── ModelNotFound  a model that the server does not have (404)
├── TooLarge    a body or a batch beyond the bounds (413)
├── Busy        too many requests wait already (503)
└── NoVerdict   the guard gave no verdict, so the text must not pass (503)
"""

from http import HTTPStatus
from typing import Any, ClassVar, Literal

from pydantic import BaseModel


class ErrorObject(BaseModel):
    """OpenAI's error object (platform.openai.com/docs/guides/error-codes)."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    """The field with the error, if it is in one."""
    code: str | None


class ErrorReply(BaseModel):
    """The body of every reply but a 200."""

    error: ErrorObject


class ApiError(Exception):
    """Sent as an `ErrorReply`."""

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    close: ClassVar[int] = 1008
    """A WebSocket's close code (RFC 6455, section 7.4.1, and IANA's registry): "policy violation" by default."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    @property
    def body(self) -> dict[str, Any]:
        return error_body(self.status, str(self), self.code, self.param)


class Invalid(ApiError):
    status, code = HTTPStatus.BAD_REQUEST, "invalid_request"


class WrongKey(ApiError):
    status, code = HTTPStatus.UNAUTHORIZED, "invalid_api_key"


class ModelNotFound(ApiError):
    status, code = HTTPStatus.NOT_FOUND, "model_not_found"


class TooLarge(ApiError):
    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"


class Busy(ApiError):
    status, code, close = HTTPStatus.SERVICE_UNAVAILABLE, "busy", 1013


class NoVerdict(ApiError):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "no_verdict"


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An `ErrorReply` as JSON."""
    kind: Literal["invalid_request_error", "server_error"]
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return ErrorReply(error=ErrorObject(message=message, type=kind, param=param, code=code)).model_dump()
