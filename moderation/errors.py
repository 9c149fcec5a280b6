"""Errors of a request to a guard endpoint.

EndpointError          no verdict from this endpoint
├── EndpointDown       unreachable, overloaded, failing or silent: worth a retry soon
├── Crowded            not asked, because too many checks wait for it already
├── EndpointRefused    it answers, but rejects this request: the key, the model or the address is wrong
├── StreamLost         it has no such stream, or its text of the stream differs from ours
└── TooLong            the conversation does not fit the guard's context
"""


class EndpointError(Exception):
    """No verdict from this endpoint. The message gives the reason, in words for an admin."""


class EndpointDown(EndpointError):
    """Unreachable, overloaded, failing or silent."""


class Crowded(EndpointError):
    """Too many checks wait for the endpoint, so it was not asked."""


class EndpointRefused(EndpointError):
    """Reachable, but it rejects the request."""


class StreamLost(EndpointError):
    """The endpoint has no such stream any more, or its text of the stream differs from what we sent."""


class TooLong(EndpointError):
    """The conversation does not fit the guard's context."""

    def __init__(self, message: str, limit: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        """Tokens that fit, if the endpoint reported it."""
