"""A route with the schemas of its requests and replies: the source of Starlette's routes and of OpenAPI's document."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guard_server.api.error_reply import ApiError
from guard_server.api.http_exchange import answering


class DescribedRoute(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    summary: str
    replies: tuple[type[BaseModel], ...]
    """The reply with status 200 is one of these."""
    request: type[BaseModel] | None = None
    """The JSON body."""
    errors: tuple[type[ApiError], ...] = ()
    query: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Query parameters, each with its values, the default first."""
    is_open: bool = False
    """Whether it is answered without the key."""
    note: str = ""
    """Notes for readers that OpenAPI has no field for."""

    def at(self, answer: Callable[[Request], Awaitable[Response]]) -> Route:
        """The route, answered by `answer`, which may raise `ApiError`."""
        return Route(self.path, answering(answer), methods=[self.method])
