"""`qwen3guard serve stream-…` as clients see it: the real routes, with a stub model."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from guard_server.stream import stream_routes
from guard_server.stream.sessions import Limits, Sessions
from moderation.stream.stream_schema import StreamOffer
from tests.stands.guards.stub_stream import StubStream

_MODELS = {"object": "list", "data": [{"id": "stream", "owned_by": "vllm", "max_model_len": StubStream.context}]}


def _list_models(request: Request) -> JSONResponse:
    return JSONResponse(_MODELS)


class StreamServer:
    """One server; `routes` are added to its own."""

    def __init__(self, *routes: BaseRoute, model: StubStream | None = None) -> None:
        self.model = model or StubStream()
        self.sessions = Sessions(self.model, Limits(idle_seconds=30))
        self.forgets = False
        """Whether it loses all streams before each request."""
        own = [Route("/v1/models", _list_models), *stream_routes.routes(lambda: self.sessions)]
        self.app = Starlette(routes=[*own, *routes], middleware=[Middleware(self._forgetful)])

    def _forgetful(self, app: ASGIApp) -> ASGIApp:
        async def forget_first(scope: Scope, receive: Receive, send: Send) -> None:
            if self.forgets:
                self.sessions = Sessions(self.model, self.sessions.limits)
            await app(scope, receive, send)

        return forget_first


def broken_server(reply: object, *routes: BaseRoute, offer: object = None) -> Starlette:
    """A server that always replies with `reply`, which is no verdict; `offer` replaces its offer of streams."""
    offered = StreamOffer(object="guard.stream", streams=0, limits={}).model_dump() if offer is None else offer
    own = [
        Route("/v1/models", _list_models),
        Route(stream_routes.PATH, lambda request: JSONResponse(offered)),
        Route(stream_routes.PATH, lambda request: JSONResponse(reply), methods=["POST"]),
    ]
    return Starlette(routes=[*own, *routes])
