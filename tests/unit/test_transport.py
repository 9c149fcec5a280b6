"""HTTP by aiohttp below any version of `openai`: faults of servers and networks, and the SDK's reactions."""

import asyncio
import gzip
import json
import os
import ssl
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from moderation.endpoint.quick_post import QuickPost
from moderation.endpoint.transport import AiohttpTransport, new_client
from moderation.errors import EndpointDown, EndpointRefused
from tests.stands.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
BODY = b'{"said": "yes"}'
ASK_ONCE = """
import asyncio, openai, sys
from moderation.endpoint.transport import new_client

async def main():
    client = new_client(sys.argv[1], "sk-key", 60, max_retries=0)
    try:
        print(await client.post("/x", cast_to=str, body={}), end="")
    except openai.OpenAIError as error:
        print(type(error).__name__, end="")
    await client.close()

asyncio.run(main())
"""
Answer = Callable[["Wire", bytes, asyncio.StreamReader, asyncio.StreamWriter], Any]


def http(body: bytes = BODY, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Wire:
    """A server that writes given bytes to a socket, and records connections and requests."""

    def __init__(self, *answers: bytes | Answer) -> None:
        self.answers = list(answers) or [http()]
        """Sent in this order; then the last one again and again."""
        self.connections = 0
        self.left = 0
        """Number of connections that the client closed before the reply."""
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0]) if length else 0)
                self.heads.append(head.decode())
                self.bodies.append(body)
                answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(self, body, reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def silent(wire: Wire, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends nothing until the client leaves."""
    assert await reader.read() == b""
    wire.left += 1


async def half(wire: Wire, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http()[:-3])
    await silent(wire, body, reader, writer)


async def cut(wire: Wire, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http()[:-3])
    writer.close()


async def hang_up(wire: Wire, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def in_pieces(wire: Wire, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for byte in BODY:
        writer.write(b"1\r\n%c\r\n" % byte)
        await writer.drain()
    writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def listening(wire: Wire, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"http{'s' if tls else ''}://localhost:{server.sockets[0].getsockname()[1]}/v1"


class Poster:
    """Posts to `url` in one of the two ways."""

    quick = False

    def __init__(self, url: str, seconds: float = PATIENCE, retries: int = 0) -> None:
        transport = AiohttpTransport(url)
        self._client = new_client(url, "sk-key", seconds, transport=transport, max_retries=retries)
        self._post = QuickPost(self._client, transport, seconds)

    async def post(self, path: str, body: dict[str, Any]) -> str:
        return await (self._post(path, body) if self.quick else self._client.post(path, cast_to=str, body=body))

    async def close(self) -> None:
        await self._client.close()


@pytest.fixture(params=[False, True], ids=["sdk", "quick"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the first attempt is made below the SDK, or the SDK makes all of them."""
    monkeypatch.setattr(Poster, "quick", request.param)
    return bool(request.param)


async def ask(url: str, *, seconds: float = PATIENCE, retries: int = 0, times: int = 1) -> list[str]:
    asked = Poster(url, seconds, retries)
    try:
        return [await asked.post("/chat/completions", {"turn": "炸弹"}) for _ in range(times)]
    finally:
        await asked.close()


async def test_requests_follow_each_other_on_one_connection(way: bool) -> None:
    wire = Wire()
    async with listening(wire) as url:
        assert await ask(url, times=5) == [BODY.decode()] * 5
    assert (wire.connections, len(wire.heads)) == (1, 5)
    assert wire.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert "authorization: bearer sk-key\r\n" in wire.heads[0].lower()
    assert ("x-stainless-lang" in wire.heads[0].lower()) is not way
    assert json.loads(wire.bodies[0]) == {"turn": "炸弹"}


@pytest.mark.parametrize(
    "answer",
    [
        http(gzip.compress(BODY, mtime=0), content_encoding="gzip"),
        http(zlib.compress(BODY), content_encoding="deflate"),
        http(BODY, content_encoding="identity"),
        http(BODY, set_cookie="a=b"),
        in_pieces,
        http(BODY, connection="close"),
    ],
)
async def test_a_reply_is_read_whole_however_it_is_packed(answer: bytes | Answer) -> None:
    wire = Wire(answer)
    async with listening(wire) as url:
        assert await ask(url, times=2, retries=1) == [BODY.decode()] * 2
    assert not any("cookie" in head.lower() for head in wire.heads)


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    async def answer_once(wire: Wire, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http())
        await writer.drain()
        writer.close()

    wire = Wire(answer_once)
    async with listening(wire) as url:
        assert await ask(url, times=4, retries=2) == [BODY.decode()] * 4
    assert wire.connections >= 4


@pytest.mark.parametrize("first", [hang_up, cut, http(b"busy", "503 Service Unavailable"), http(b"", "429 Too Many")])
async def test_a_request_that_fails_once_is_repeated(first: bytes | Answer) -> None:
    wire = Wire(first, http())
    async with listening(wire) as url:
        assert await ask(url, retries=1) == [BODY.decode()]
    assert len(wire.heads) == 2


@pytest.mark.parametrize("answer", [silent, half])
async def test_a_silent_server_is_a_time_out_of_the_sdk(answer: Answer) -> None:
    wire = Wire(answer)
    async with listening(wire) as url:
        with pytest.raises(openai.APITimeoutError):
            await ask(url, seconds=0.3)
        await until(lambda: wire.left)


@pytest.mark.parametrize(
    "answer", [hang_up, cut, b"SSH-2.0-OpenSSH_9.6\r\n", http(b"no gzip", content_encoding="gzip")]
)
async def test_a_broken_reply_is_a_lost_connection_of_the_sdk(answer: bytes | Answer) -> None:
    async with listening(Wire(answer)) as url:
        with pytest.raises(openai.APIConnectionError) as caught:
            await ask(url, seconds=PATIENCE)
    assert not isinstance(caught.value, openai.APITimeoutError)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://no-such-host.invalid/v1"])
async def test_a_server_that_is_not_there_is_a_lost_connection_of_the_sdk(url: str) -> None:
    with pytest.raises(openai.APIConnectionError):
        await ask(url)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("400 Bad Request", openai.BadRequestError),
        ("401 Unauthorized", openai.AuthenticationError),
        ("404 Not Found", openai.NotFoundError),
        ("429 Too Many Requests", openai.RateLimitError),
        ("500 Internal Server Error", openai.InternalServerError),
        ("307 Temporary Redirect", openai.APIStatusError),
    ],
)
async def test_a_refusal_is_the_sdks_own_error_and_a_redirect_is_not_followed(
    status: str, error: type[openai.APIStatusError]
) -> None:
    wire = Wire(http(b'{"error": {"message": "why"}}', status, location="/v1/elsewhere"))
    async with listening(wire) as url:
        with pytest.raises(error) as caught:
            await ask(url)
    assert caught.value.status_code == int(status[:3])
    assert "why" in caught.value.response.text
    assert len(wire.heads) == 1


async def test_a_wait_beyond_the_time_limit_is_not_waited_for() -> None:
    wire = Wire(http(b"", "503 Service Unavailable", retry_after="50"))
    async with listening(wire) as url:
        with pytest.raises(openai.InternalServerError):
            await ask(url, seconds=30, retries=2)
    assert len(wire.heads) == 1


@pytest.mark.parametrize("packed", [False, True])
async def test_a_reply_without_end_is_cut_off(packed: bool) -> None:
    body = b"a" * 5_000_000
    answer = http(gzip.compress(body), content_encoding="gzip") if packed else http(body)
    async with listening(Wire(answer)) as url:
        # Some versions of the SDK wrap errors that they do not know.
        with pytest.raises((EndpointRefused, openai.APIConnectionError)) as caught:
            await ask(url)
    refused = caught.value if isinstance(caught.value, EndpointRefused) else caught.value.__cause__
    assert "sent more than" in str(refused)


async def test_a_cancelled_request_closes_its_connection_and_the_next_one_is_served() -> None:
    wire = Wire(silent, http())
    async with listening(wire) as url:
        asked = Poster(url)
        asking = asyncio.ensure_future(asked.post("/chat/completions", {}))
        await until(lambda: wire.heads)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: wire.left)
        assert await asked.post("/chat/completions", {}) == BODY.decode()
        await asked.close()
    assert wire.connections == 2


async def test_a_client_that_is_closed_meanwhile_is_a_lost_connection() -> None:
    wire = Wire(silent)
    async with listening(wire) as url:
        asked = Poster(url)
        asking = asyncio.ensure_future(asked.post("/chat/completions", {}))
        await until(lambda: wire.heads)
        await asked.close()
        with pytest.raises((openai.APIConnectionError, EndpointDown)):
            await asking


async def test_concurrent_requests_get_their_own_replies() -> None:
    async def echo(wire: Wire, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        writer.write(http(body))

    async with listening(Wire(echo)) as url:
        asked = Poster(url)
        for _ in range(3):
            bodies = [{"turn": number} for number in range(50)]
            replies = await asyncio.gather(*(asked.post("/x", body) for body in bodies))
            assert [json.loads(reply) for reply in replies] == bodies
        await asked.close()


@pytest.mark.parametrize(
    ("variable", "exempt", "proxied"),
    [
        ("http_proxy", "", True),
        ("HTTP_PROXY", "", True),
        ("http_proxy", "localhost", False),
        ("https_proxy", "", False),
    ],
)
async def test_the_environments_proxy_is_used(
    monkeypatch: pytest.MonkeyPatch, variable: str, exempt: str, proxied: bool
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server, proxy = Wire(), Wire()
    async with listening(server) as url, listening(proxy) as proxy_url:
        monkeypatch.setenv(variable, proxy_url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", exempt)
        assert await ask(url) == [BODY.decode()]
    assert (len(proxy.heads), len(server.heads)) == ((1, 0) if proxied else (0, 1))
    if proxied:
        assert proxy.heads[0].startswith(f"POST {url}/chat/completions")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost, which no authority has signed."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command = [*make.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", str(file), "-out", "-"]
    shown = subprocess.run(command, check=True, capture_output=True).stdout
    with file.open("ab") as both:
        both.write(shown)
    return file


# Their child process asks in one way only.
@pytest.mark.parametrize("way", [False], indirect=True)
@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_verified_against_what_the_admin_trusts(certificate: Path, trusted: bool) -> None:
    """In its own process, since aiohttp reads the setting only once, at its import."""
    wire = Wire()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    variables = {**os.environ, **({"SSL_CERT_FILE": str(certificate)} if trusted else {})}
    async with listening(wire, tls) as url:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASK_ONCE, url, cwd=ROOT, env=variables, stdout=asyncio.subprocess.PIPE
        )
        shown, _ = await child.communicate()
    assert shown.decode() == (BODY.decode() if trusted else "APIConnectionError")
    assert len(wire.heads) == (1 if trusted else 0)
