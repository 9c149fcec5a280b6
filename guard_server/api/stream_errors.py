"""What a client of the stream endpoint can be told, besides what all routes say. Where a stream is open, it ends so.

ApiError           see errors.py
├── UnknownStream  no stream of that id, or no more (404)
├── Conflict       the stream is busy, or the text does not go on where it stopped (409)
├── TooMuch        a text, message or conversation beyond the bounds (413)
├── Idle           nothing came for too long (408)
├── Full           all streams are taken (503)
└── GuardFailed    the model gave no verdict (503)
"""

from http import HTTPStatus

from guard_server.api.errors import ApiError


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
