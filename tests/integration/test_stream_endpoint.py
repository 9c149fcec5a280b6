"""`serve` with a Qwen3Guard-Stream with random weights on real vLLM, and a cache too small for all of its streams."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from moderation.answer.channels import Channel, Piece, Rank
from moderation.answer.progress import End
from moderation.answer.watch import Watcher
from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.policy import Policy
from tests.stands.processes import guard_environment
from tests.stands.processes.guard_process import KEY, GuardProcess, guard_process
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE

PROMPT = "How do I bake bread?"
MESSAGES = [{"role": "user", "content": PROMPT}]
HEADERS = {"Authorization": f"Bearer {KEY}"}
SENTENCES = [
    "Bread is made of flour, water, salt and yeast.",
    "面包是用面粉、水、盐和酵母做的，非常好吃。",
    "Knead the dough for ten minutes; then let it rest (about an hour).",
    "先把面团揉十分钟，然后让它休息一个小时左右。",
    "It's 220 °C: the oven is hot!\n\n1. Shape a loaf.\n2. Bake it.\n",
    "Don't open the door — l'odeur est délicieuse, ¡qué rico!",
]
# Blocks of 32 tokens: little more than one conversation of full length needs.
BLOCKS, CONTEXT = 40, 1024


def answers() -> list[str]:
    generator = random.Random(1)
    return [" ".join(generator.choices(SENTENCES, k=1 + number % 8)) for number in range(32)]


class Server:
    """A guard that can be restarted at its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.start()

    def start(self) -> None:
        options = ["--max-model-len", str(CONTEXT), "--num-gpu-blocks-override", str(BLOCKS)]
        # oneDNN keeps a kernel for each batch size that it has seen: tens of MiB that do not belong to a stream.
        env = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0"}
        self._context = guard_process(str(self.folder), *options, key=KEY, port=self.port, env=env)
        self.process: GuardProcess = self._context.__enter__()
        self.process.wait_for("Try it:")

    def stop(self) -> None:
        self._context.__exit__(None, None, None)

    @property
    def url(self) -> str:
        return f"{self.process.url}/guard/stream"

    def post(self, **body: Any) -> dict[str, Any]:
        reply = httpx.post(self.url, json=body, headers=HEADERS, timeout=PATIENCE, trust_env=False)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def socket(self) -> connect:
        url = self.url.replace("http:", "ws:")
        return connect(url, additional_headers=HEADERS, proxy=None, open_timeout=PATIENCE, ping_timeout=None)

    def streams(self) -> int:
        return int(httpx.get(self.url, headers=HEADERS, timeout=PATIENCE, trust_env=False).json()["streams"])

    def requests(self) -> float:
        text = httpx.get(f"{self.process.root}/metrics", timeout=PATIENCE, trust_env=False).text
        found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, re.MULTILINE)
        assert len(found) == 2, text
        return sum(map(float, found))

    def memory(self) -> int:
        """The memory of all of its processes, in bytes."""
        group = self.process.session()
        return sum(p.memory_info().rss for p in psutil.Process(group).children(recursive=True)) + (
            psutil.Process(group).memory_info().rss
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("stream") / "guard"
    guard_environment.make_checkpoint(folder, context=CONTEXT, safe=0.84, seed=8)
    server = Server(folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def replies(server: Server) -> list[dict[str, Any]]:
    """The reply to each answer, sent in one piece."""
    return [server.post(messages=MESSAGES, text=answer, end=True) for answer in answers()]


@pytest.fixture(scope="module")
def verdicts(replies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(map(verdict_of, replies))


@pytest.fixture(scope="module")
def calm(verdicts: list[dict[str, Any]]) -> int:
    """An answer that is Safe, and long enough to be split."""
    found = [n for n, verdict in enumerate(verdicts) if verdict["severity"] == "Safe" and len(answers()[n]) > 60]
    assert found, "another tokenizer of the demo guard needs another seed"
    return found[0]


def verdict_of(reply: dict[str, Any]) -> dict[str, Any]:
    """The part of a reply that may not depend on how the text was split. (Probabilities differ in the last digits.)"""
    assert reply["final"]
    where = {
        strictness: violation and {name: violation[name] for name in ("token", "character", "severity", "category")}
        for strictness, violation in reply["violations"].items()
    }
    return {"severity": reply["severity"], "cleared": reply["cleared"], "violations": where}


async def exchange(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    await socket.send(json.dumps(message))
    reply: dict[str, Any] = json.loads(await socket.recv())
    assert "error" not in reply, reply
    return reply


async def judge_in_parts(server: Server, answer: str, generator: random.Random, longest: int) -> dict[str, Any]:
    async with server.socket() as socket:
        await exchange(socket, messages=MESSAGES)
        start, cleared = 0, 0
        while start < len(answer):
            stop = start + generator.randint(1, longest)
            reply = await exchange(socket, text=answer[start:stop], offset=start)
            assert cleared <= reply["cleared"]["strict"] <= stop
            start, cleared = stop, reply["cleared"]["strict"]
            if reply["final"]:
                return verdict_of(reply)
        return verdict_of(await exchange(socket, end=True))


def test_the_panel_shows_how_to_try_it(server: Server) -> None:
    assert f"curl {server.url} " in server.process.output
    assert KEY not in server.process.output


def test_the_answers_end_in_different_ways(verdicts: list[dict[str, Any]]) -> None:
    """Otherwise the tests below would compare little. Another tokenizer of the demo guard may need another seed."""
    assert {verdict["severity"] for verdict in verdicts} == {"Safe", "Controversial", "Unsafe"}


def test_verdicts_equal_those_of_plain_transformers(server: Server, verdicts: list[dict[str, Any]]) -> None:
    pairs = json.dumps([(PROMPT, answer) for answer in answers()])
    lines = guard_environment.run(
        "-m", "tests.stands.checkpoints.stream_reference", str(server.folder), stdin=pairs
    ).splitlines()
    expected = json.loads(lines[-1])
    for verdict, reference in zip(verdicts, expected, strict=True):
        for strictness in ("strict", "loose"):
            found = verdict["violations"][strictness]
            assert (found and {name: found[name] for name in ("token", "character")}) == reference[strictness]
    prompt = server.post(messages=MESSAGES, end=True)["prompt"]["probabilities"]
    assert prompt == pytest.approx(expected[0]["prompt"], abs=1e-3)


@pytest.mark.parametrize("longest", [1, 7, 40])
async def test_the_verdict_does_not_depend_on_the_pieces_of_an_answer(
    server: Server, verdicts: list[dict[str, Any]], longest: int
) -> None:
    generator = random.Random(longest)
    for number in range(0, 32, 5):
        assert await judge_in_parts(server, answers()[number], generator, longest) == verdicts[number]


async def test_32_streams_finish_in_a_cache_that_cannot_hold_them(
    server: Server, replies: list[dict[str, Any]], verdicts: list[dict[str, Any]]
) -> None:
    assert sum(reply["tokens"] for reply in replies) > 1.5 * BLOCKS * 32
    judged = [judge_in_parts(server, answer, random.Random(n), 12) for n, answer in enumerate(answers())]
    assert await asyncio.gather(*judged) == verdicts


async def test_a_stream_continues_after_a_lost_connection(
    server: Server, verdicts: list[dict[str, Any]], calm: int
) -> None:
    answer = answers()[calm]
    async with server.socket() as socket:
        await exchange(socket, messages=MESSAGES, text=answer[:31])
        socket.transport.abort()
    async with server.socket() as socket:
        reply = await exchange(socket, messages=MESSAGES, text=answer[:47])
        assert reply["received"] == 47
        assert verdict_of(await exchange(socket, text=answer[47:], end=True)) == verdicts[calm]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_without_the_key_there_is_no_stream(server: Server, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE, trust_env=False) as client:
        assert (await client.post(server.url, json={"messages": MESSAGES})).status_code == 401
        assert (await client.get(server.url)).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        await connect(server.url.replace("http:", "ws:"), additional_headers=headers, proxy=None, open_timeout=PATIENCE)
    assert refused.value.response.status_code == 401


def test_a_conversation_may_fill_the_context_but_not_exceed_it(server: Server) -> None:
    def asked(words: int) -> httpx.Response:
        messages = [{"role": "user", "content": "bread " * words}]
        body = {"messages": messages, "end": True}
        return httpx.post(server.url, json=body, headers=HEADERS, timeout=PATIENCE, trust_env=False)

    low, high = 1, CONTEXT
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if asked(middle).status_code == 200 else (low, middle)
    assert low > CONTEXT / 2
    assert asked(low).status_code == 200
    refused = asked(high)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_long")
    assert f"{CONTEXT} tokens" in refused.json()["error"]["message"]


async def test_the_watcher_shows_exactly_the_cleared_text(server: Server, verdicts: list[dict[str, Any]]) -> None:
    content = Channel(0, Rank.CONTENT, 0, "content")

    async def pieces(answer: str) -> AsyncIterator[Piece]:
        for start in range(0, len(answer), 9):
            yield Piece(content, answer[start : start + 9])
            await asyncio.sleep(0.005)

    async with Endpoint(server.process.url, KEY, timeout=PATIENCE) as endpoint:
        guard = Guard(endpoint, timeout=PATIENCE)
        for number in range(8):
            shown: list[Piece] = []
            context = [Turn("user", PROMPT)]
            watcher = Watcher(guard, Policy(), context, shown.extend, asyncio.sleep(0))
            watched = await watcher.watch(pieces(answers()[number]))
            text = "".join(piece.text for piece in shown)
            cleared, safe = verdicts[number]["cleared"]["strict"], verdicts[number]["severity"] == "Safe"
            assert answers()[number][:cleared].startswith(text)
            assert (watched.end is End.COMPLETE) == safe == (text == answers()[number])
        assert (await guard.judge(context)).severity == server.post(messages=MESSAGES, end=True)["prompt"]["severity"]


async def test_a_thousand_dropped_streams_keep_no_resources(server: Server) -> None:
    async def drop(number: int) -> None:
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(server.socket()) for _ in range(50)]
            for socket in sockets:
                await socket.send(json.dumps({"messages": MESSAGES, "text": f"{number}: {SENTENCES[0]} And then"}))
            # Some are dropped before the first verdict, some after it.
            for socket in sockets[::2]:
                await socket.recv()
            for socket in sockets:
                socket.transport.abort()

    async def nothing_is_left() -> None:
        async with asyncio.timeout(PATIENCE):
            while server.streams() or server.requests():
                await asyncio.sleep(0.2)

    async def grown() -> int:
        """Bytes that the server has in addition after a thousand."""
        before = server.memory()
        for number in range(20):
            await drop(number)
        await nothing_is_left()
        return server.memory() - before

    # In the first thousand, memory that Python and vLLM keep in any case is allocated, and rarely in the second. What
    # streams keep would be there after each.
    await grown()
    assert await grown() < 8 * 2**20 or await grown() < 8 * 2**20


async def test_a_stream_continues_after_a_restart_of_the_server(
    server: Server, verdicts: list[dict[str, Any]], calm: int
) -> None:
    answer = answers()[calm]
    async with server.socket() as socket:
        await exchange(socket, messages=MESSAGES, text=answer[:31])
        await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    async with server.socket() as socket:
        assert (await exchange(socket, messages=MESSAGES, text=answer[:47]))["received"] == 47
        assert verdict_of(await exchange(socket, text=answer[47:], end=True)) == verdicts[calm]
