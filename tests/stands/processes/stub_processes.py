"""A guard and a chat model for benchmarks, each in its own process: in a thread they would share our processor time."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.paced_model import PacedModel
from tests.stands.servers import KEEP_ALIVE_SECONDS, free_port
from tests.stands.waiting import PATIENCE

# It estimates tokens instead of counting words, so that long chats cost the benchmark's guard almost nothing.
_BYTES_PER_TOKEN = 4


class CountingGuard(StubGuard):
    """Finds everything safe, and counts its requests instead of keeping them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = {"verdicts": 0, "tokenize": 0}

    async def _tokenize(self, request: Request) -> Response:
        body = await request.json()
        if "messages" not in body:
            return await super()._tokenize(request)
        self.counts["tokenize"] += 1
        return JSONResponse({"count": _tokens(body), "tokens": [], "max_model_len": self.limit})

    async def _complete(self, request: Request) -> Response:
        try:
            return await super()._complete(request)
        finally:
            self.counts["verdicts"] += 1
            self.requests.clear()

    def _reply(self, body: dict[str, object]) -> Response:
        count = _tokens(body)
        if count > self.limit and (refusal := self._too_long(count)):
            return refusal
        messages = body["messages"]
        assert isinstance(messages, list)
        return super()._reply({**body, "messages": [{**messages[-1], "content": "hello"}]})


def _tokens(body: dict[str, object]) -> int:
    messages = body["messages"]
    assert isinstance(messages, list)
    return sum(len(message["content"].encode()) for message in messages) // _BYTES_PER_TOKEN + 1


@contextmanager
def stub_guard_process(seconds: float) -> Iterator[str]:
    """A stub guard that takes this time for a verdict.

    In addition to a guard's routes, `GET /judged` returns the last turns of the requests since the previous call,
    and `POST /delay` sets the seconds.
    """
    with _process(_serve_guard, seconds) as url:
        yield url


@contextmanager
def counting_guard_process() -> Iterator[str]:
    """A stub guard that answers at once.

    In addition to a guard's routes, `GET /counts` returns how many verdicts and token counts were requested since the
    previous call, and `POST /delay` sets the seconds that a verdict takes.
    """
    with _process(_serve_counting_guard) as url:
        yield url


@contextmanager
def paced_model_process() -> Iterator[str]:
    """A `PacedModel`.

    In addition to a model's routes, `GET /endings` returns when each stream since the previous call ended, by the
    system's monotonic clock, and whether it was complete.
    """
    with _process(_serve_model) as url:
        yield url


@contextmanager
def _process(serve: Callable[..., None], *arguments: float) -> Iterator[str]:
    """`serve(port, *arguments)` in a process, once it answers."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port, *arguments), daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False)
                break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def _serve_guard(port: int, seconds: float) -> None:
    stub = StubGuard()
    stub.delay = seconds

    async def judged(request: Request) -> JSONResponse:
        found, stub.requests[:] = stub.judged, []
        return JSONResponse(found)

    _run(stub.app, port, Route("/judged", judged), _delay(stub))


def _serve_counting_guard(port: int) -> None:
    stub = CountingGuard()

    async def counts(request: Request) -> JSONResponse:
        found, stub.counts = stub.counts, dict.fromkeys(stub.counts, 0)
        return JSONResponse(found)

    _run(stub.app, port, Route("/counts", counts), _delay(stub))


def _delay(stub: StubGuard) -> Route:
    async def delay(request: Request) -> JSONResponse:
        stub.delay = await request.json()
        return JSONResponse(None)

    return Route("/delay", delay, methods=["POST"])


def _serve_model(port: int) -> None:
    model = PacedModel()

    async def endings(request: Request) -> JSONResponse:
        found = list(zip(model.closed, model.whole, strict=True))
        model.closed, model.whole = [], []
        return JSONResponse(found)

    _run(model.app, port, Route("/endings", endings))


def _run(app: Starlette, port: int, *routes: Route) -> None:
    app.routes.extend(routes)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_keep_alive=KEEP_ALIVE_SECONDS)
