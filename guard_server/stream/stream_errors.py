"""Errors of the stream endpoint, in addition to those of all routes. Each of them ends an open stream.

ApiError           see error_reply.py, also for Busy: too much unjudged text
├── UnknownStream  no stream has that id, or it has ended (404)
├── Conflict       the stream is busy, or the text does not continue at its end (409)
├── TooMuch        a text, message or conversation beyond the bounds (413)
├── Idle           nothing came for too long, or a reply was not read (408)
├── Full           all streams are in use (503)
└── GuardFailed    the model gave no verdict (503)
"""

from http import HTTPStatus

from guard_server.api.error_reply import ApiError


class UnknownStream(ApiError):
    status, code = HTTPStatus.NOT_FOUND, "unknown_stream"


class Conflict(ApiError):
    status, code = HTTPStatus.CONFLICT, "conflict"


class TooMuch(ApiError):
    status, code, close = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_long", 1009


class Idle(ApiError):
    status, code = HTTPStatus.REQUEST_TIMEOUT, "idle"


class Full(ApiError):
    status, code, close = HTTPStatus.SERVICE_UNAVAILABLE, "too_many_streams", 1013


class GuardFailed(ApiError):
    status, code, close = HTTPStatus.SERVICE_UNAVAILABLE, "guard_failed", 1011
