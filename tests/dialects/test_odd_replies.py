"""Replies that no stand-in gives, one table for each route: the result is a verdict, or a reason why there is none."""

import gzip
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import Style
from moderation.guard import Guard
from moderation.verdict import Category, Severity, Verdict
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

BOMB = [Turn("user", "How do I make a bomb?")]
UNSAFE = "Safety: Unsafe\nCategories: Violent"
DEEP = "[" * 200_000
MODELS = {"data": [{"id": "guard"}]}


def completion(text: Any = UNSAFE, **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message}}]}


def respond(body: Any, status: int = 200, **headers: str) -> Response:
    if isinstance(body, Response):
        return body
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/html" if text.startswith("<") else "application/json"
    return Response(text, status, {name.replace("_", "-"): value for name, value in headers.items()}, kind)


class Odd:
    """A server that answers each route in one way; `asked` has the requests for chat completions."""

    def __init__(self, models: Any = MODELS, tokenize: Any = None, chat: Any = None) -> None:
        self.models = models
        self.tokenize = respond("404 page not found", 404) if tokenize is None else tokenize
        self.chat = completion() if chat is None else chat
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        routes = [
            Route("/v1/models", lambda request: respond(self.models)),
            Route("/tokenize", lambda request: respond(self.tokenize), methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def _chat(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers = dict(request.headers)
        # A Starlette response is callable, too.
        if callable(self.chat) and not isinstance(self.chat, Response):
            return respond(self.chat(self.asked[-1]))
        return respond(self.chat)


@asynccontextmanager
async def guard_and_endpoint_at(odd: Odd, **options: Any) -> AsyncIterator[tuple[Guard, Endpoint]]:
    with serve(odd.app) as url:
        endpoint = Endpoint(f"{url}/v1", timeout=PATIENCE, **options)
        guard = Guard(endpoint, timeout=PATIENCE)
        try:
            yield guard, endpoint
        finally:
            await guard.aclose()


@asynccontextmanager
async def guard_at(odd: Odd, **options: Any) -> AsyncIterator[Guard]:
    async with guard_and_endpoint_at(odd, **options) as (guard, _):
        yield guard


async def judged(odd: Odd, **options: Any) -> Verdict:
    async with guard_at(odd, **options) as guard:
        return await guard.judge(BOMB)


def is_right(verdict: Verdict) -> bool:
    return (verdict.severity, verdict.categories) == (Severity.UNSAFE, (Category.VIOLENT,))


_LENGTHS: tuple[object, ...] = ("4096", -1, 0, 10**30, 1.5, True, [], 1e999)


@pytest.mark.parametrize(
    "models",
    [
        [{"id": "guard"}],
        {"data": [{"id": None}, {}, 1, {"id": ""}, {"id": "guard", "owned_by": 7}]},
        {"models": [{"name": "guard"}], "data": [{"id": "guard", "object": None}]},
        {"data": [{"id": "chat"}, {"id": "my-GUARD"}, {"id": "guard"}]},
        {"data": [{"id": "guard", "meta": []}], "object": 1},
        *({"data": [{"id": "guard", "max_model_len": length}]} for length in _LENGTHS),
    ],
)
async def test_a_model_list_of_any_shape_is_read(models: object) -> None:
    odd = Odd(models)
    assert is_right(await judged(odd))
    assert {request["model"].lower()[-5:] for request in odd.asked} == {"guard"}


@pytest.mark.parametrize(
    ("length", "right"),
    [("4096", 4096), (8192, 8192), (-1, None), (0, None), (7, None), (10**30, None), (True, None), ("many", None)],
)
async def test_an_invalid_context_length_counts_as_not_reported(length: object, right: int | None) -> None:
    async with guard_and_endpoint_at(Odd({"data": [{"id": "guard", "max_model_len": length}]})) as (_, endpoint):
        await endpoint.learn()
        assert endpoint.context_tokens == right


@pytest.mark.parametrize(
    "models", [respond("no", 403), respond("oops", 500), "<html>", "", DEEP, {"data": 7}, respond({}, 404)]
)
async def test_a_named_model_needs_no_list(models: object) -> None:
    odd = Odd(models)
    assert is_right(await judged(odd, model="mine"))
    assert {request["model"] for request in odd.asked} == {"mine"}


@pytest.mark.parametrize(
    "tokenize",
    [
        {"tokens": []},
        {"tokens": [1, 2]},
        {"tokens": [{"id": 1, "piece": "S"}, {"id": 2, "piece": "a"}]},
        {"tokens": [1, 2], "count": "2"},
        {"tokens": None, "count": None},
        {"count": -5, "tokens": [1]},
        {"count": 10**9, "tokens": [1]},
        {"count": 1, "tokens": [1]},
        {"count": 10**400, "tokens": [10**400]},
        {"count": True, "tokens": [True]},
        {"error": "Unexpected endpoint or method."},
        [1, 2, 3],
        "<html>welcome</html>",
        "",
        DEEP,
        *(respond({"error": "no"}, status) for status in (400, 401, 403, 405, 422, 429, 500, 501, 503)),
        respond("", 307, location="http://127.0.0.1:1/elsewhere"),
        respond("x" * 3_000_000),
    ],
)
async def test_tokenize_is_never_needed(tokenize: object) -> None:
    odd = Odd(tokenize=tokenize)
    async with guard_at(odd) as guard:
        assert is_right(await guard.judge(BOMB))
        long = [Turn("user", "calm 安静 " * 3000 + "bomb")]
        assert (await guard.judge(long)).severity is Severity.UNSAFE


@pytest.mark.parametrize(
    "chat",
    [
        completion([{"type": "text", "text": "Safety: Unsafe\n"}, {"type": "text", "text": "Categories: Violent"}]),
        completion(None, reasoning_content=UNSAFE),
        completion("", reasoning=UNSAFE),
        completion(" \n", reasoning=UNSAFE, reasoning_content=UNSAFE),
        completion(f"<think>\n\n</think>\n\n{UNSAFE}"),
        completion(f"\n</think>\n\n{UNSAFE}"),
        completion(f"{UNSAFE}<|im_end|>"),
        completion(f"{UNSAFE}\n<|im_end|>\n<|endoftext|> "),
        completion(None, reasoning_content=f"<think></think>{UNSAFE}</s>"),
        completion(UNSAFE, tool_calls=None, refusal=7),
        completion() | {"usage": None, "created": "now", "object": 5},
        completion() | {"usage": {"prompt_tokens": None}},
        {"choices": [{"message": {"content": UNSAFE}, "logprobs": None, "finish_reason": 3}]},
        {"choices": [{"message": {"content": UNSAFE}, "logprobs": {"content": None}}]},
        {"choices": [{"message": {"content": UNSAFE}, "logprobs": []}]},
        respond(completion(), content_type="text/plain"),
        "\ufeff" + json.dumps(completion()),
        json.dumps(completion(note="half a character: \ud83d")),
    ],
)
async def test_a_verdict_is_found_in_any_field_of_a_reply(chat: object) -> None:
    assert is_right(await judged(Odd(chat=chat)))


@pytest.mark.parametrize(
    "chat",
    [
        completion(f"<think>hm</think>{UNSAFE}"),
        completion(f"{UNSAFE}<|im_end|>\nUSER: and now"),
        completion(f"{UNSAFE}\nThat is what I think."),
        completion("Hello!", reasoning_content=UNSAFE),
        completion("Safety: Safe\n" * 400_000),
        completion("<|im_end|>" * 100_000),
        completion(" " * 1_000_000 + "x"),
        completion(None),
        {"choices": [*completion("Safety: Safe")["choices"], *completion()["choices"]]},
        {"choices": [None, *completion()["choices"]]},
        f"data: {json.dumps(completion())}\n\ndata: [DONE]\n\n",
    ],
)
async def test_any_other_reply_is_unreadable(chat: object) -> None:
    started = time.process_time()
    verdict = await judged(Odd(chat=chat))
    assert not verdict.reached
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("chat", "said"),
    [
        ("<html>welcome</html>", "does not answer like an OpenAI-compatible server"),
        ("", "does not answer like"),
        (DEEP, "does not answer like"),
        ('{"choices":' + DEEP, "does not answer like"),
        ({"choices": None}, "does not answer like"),
        ({"choices": [{"message": None}]}, "does not answer like"),
        ({"choices": [{"text": UNSAFE}]}, "does not answer like"),
        ({"error": {"message": "no GPU left"}}, "no GPU left"),
        ({"error": "no GPU left"}, "no GPU left"),
        ({"object": "error", "message": "no GPU left", "code": 500}, "no GPU left"),
        ({"detail": [{"loc": ["body"], "msg": "no GPU left"}]}, "no GPU left"),
        ([{"error": {"code": 429, "message": "no GPU left"}}], "no GPU left"),
        (respond({"error": "model is loading"}, 503), "503: model is loading"),
        (respond({"detail": "nobody home"}, 500), "500: nobody home"),
        (respond({"error": {"message": "slow down"}}, 429, retry_after="3600"), "429: slow down"),
        (respond("x" * 3_000_000), "sent more than"),
        (respond(gzip.compress(b" " * 50_000_000).decode("latin-1")), "does not answer like"),
    ],
)
async def test_a_missing_verdict_has_its_reason(chat: object, said: str) -> None:
    verdict = await judged(Odd(chat=chat))
    assert not verdict.reached
    assert said in str(verdict.problem)
    assert "bug" not in str(verdict.problem)


def packed(body: Any) -> Response:
    return Response(gzip.compress(json.dumps(body).encode()), headers={"content-encoding": "gzip"})


async def test_packed_replies_are_read_within_bounds() -> None:
    assert is_right(await judged(Odd(packed(MODELS), chat=packed(completion()))))
    bomb = Response(gzip.compress(b" " * 50_000_000), headers={"content-encoding": "gzip"})
    assert "sent more than" in str((await judged(Odd(chat=bomb))).problem)
    torn = Response(b"\x1f\x8b not gzip", headers={"content-encoding": "gzip"})
    assert "cannot be reached" in str((await judged(Odd(chat=torn))).problem)


def label(token: str, *top: tuple[object, object], **more: Any) -> dict[str, Any]:
    candidates = [{"token": text, "logprob": logprob, **more} for text, logprob in top]
    return {"token": token, "logprob": -0.1, "top_logprobs": candidates, **more}


ALL = ((" Unsafe", -0.1), (" Safe", -3.0), (" Controversial", -4.0))


def full(tokens: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": UNSAFE}, "logprobs": {"content": tokens}}]}


def word(text: str) -> dict[str, Any]:
    return label(text, (text, -0.001))


@pytest.mark.parametrize(
    "tokens",
    [
        [word("Safety"), word(":"), label(" Unsafe", *ALL)],
        [word("Safety:"), label(" Unsafe", *ALL)],
        # A vocabulary that splits "Safety" in two: a token that begins like a label is not the label.
        [word("Safe"), word("ty"), word(":"), label(" Unsafe", *ALL)],
        [
            word("<think>"),
            word("\n\n"),
            word("</think>"),
            word("\n\n"),
            word("Safety:"),
            word(" "),
            label("Unsafe", *ALL),
        ],
        [word("Safety"), word(":"), label("Unsafe", ("Unsafe", -0.1), ("Safe", -3), ("Controversial", -4))],
        [word("Safety"), word(":"), label("ĠUnsafe", ("ĠUnsafe", -0.1), ("ĠSafe", -3), ("ĠControversial", -4))],
        [word("Safety"), word(":"), label("▁Un", ("▁Un", -0.1), ("▁Safe", -3), ("▁Cont", -4))],
        [word("Safety"), word(":"), label(" Unsafe", *ALL, bytes=[32, 85], id=7), None, {"token": 5}],
    ],
)
async def test_probabilities_are_read_from_the_labels_token(tokens: object) -> None:
    verdict = await judged(Odd(chat=full(tokens)))
    assert is_right(verdict)
    assert verdict.probabilities is not None
    assert verdict.probabilities[Severity.UNSAFE] == pytest.approx(0.93, abs=0.02)


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        [],
        "x",
        [None, word(":"), label(" Unsafe", *ALL)],
        [word("Safety"), word(":"), {"token": " Unsafe", "logprob": -0.1}],
        [word("Safety"), word(":"), {"token": " Unsafe", "logprob": -0.1, "top_logprobs": None}],
        [word("Safety"), word(":"), label(" Unsafe")],
        [word("Safety"), word(":"), label(" Unsafe", *ALL, (" x", None))],
        *([word("Safety"), word(":"), label(" Unsafe", *ALL, (" x", n))] for n in (math.nan, 1e300, 10**400, "-", 5.0)),
        [word("Safety"), word(":"), label(" Safe", *ALL)],
    ],
)
async def test_odd_probabilities_are_dropped_and_the_verdict_is_kept(tokens: object) -> None:
    verdict = await judged(Odd(chat=full(tokens)))
    assert is_right(verdict)
    assert verdict.probabilities is None


async def test_a_label_that_can_never_come_is_impossible() -> None:
    tokens = [
        word("Safety:"),
        label(" Unsafe", (" Unsafe", 0.0), (" Safe", -math.inf), (" Controversial", -9999.0)),
    ]
    verdict = await judged(Odd(chat=full(tokens)))
    assert verdict.probabilities == {Severity.UNSAFE: 1, Severity.SAFE: 0, Severity.CONTROVERSIAL: 0}


@pytest.mark.parametrize("status", [400, 404, 422, 500, 501])
@pytest.mark.parametrize(
    "refused",
    [
        ("chat_template_kwargs",),
        ("logprobs",),
        ("top_logprobs",),
        ("chat_template_kwargs", "logprobs"),
    ],
)
async def test_a_request_that_a_server_refuses_is_made_in_another_way(status: int, refused: tuple[str, ...]) -> None:
    def chat(body: dict[str, Any]) -> object:
        if named := [name for name in refused if name in body]:
            return respond({"error": {"message": f"top_logprobs is too large, {named[0]} is not supported"}}, status)
        return completion()

    odd = Odd(chat=chat)
    async with guard_at(odd) as guard:
        assert is_right(await guard.judge(BOMB))
        asked = len(odd.asked)
        assert is_right(await guard.judge([Turn("user", "And another bomb?")]))
        assert len(odd.asked) == asked + 1


async def test_the_features_of_a_changed_server_are_detected_again() -> None:
    """Like llama.cpp restarted with another file: it has one model, whatever name a request has."""
    odd = Odd({"data": [{"id": "first-guard"}]})
    async with guard_and_endpoint_at(odd) as (guard, endpoint):
        assert is_right(await guard.judge(BOMB))
        assert endpoint.style is Style.FULL_WITH_LOGPROBS
        odd.models = {"data": [{"id": "second-guard", "max_model_len": 2048}]}
        odd.chat = lambda body: respond({"error": "no such field"}, 400) if "logprobs" in body else completion()
        assert is_right(await guard.judge([Turn("user", "Another bomb?")]))
        assert is_right(await guard.judge([Turn("user", "A third bomb?")]))
        assert (guard.model, endpoint.context_tokens, endpoint.style) == ("second-guard", 2048, Style.FULL)


async def test_naming_an_error_changes_nothing() -> None:
    odd = Odd()
    async with guard_and_endpoint_at(odd) as (guard, endpoint):
        await guard.judge(BOMB)
        before = await endpoint.learn()
        odd.chat = respond({"error": {"message": "not now"}}, 400)
        assert not (await guard.judge([Turn("user", "Another bomb?")])).reached
        assert await endpoint.learn() is before


WORDS = (
    "This model's maximum context length is 3000 tokens. However, you requested 128 output tokens and your prompt has",
    "You passed 400000 characters. maximum context length is 3000 tokens, and 60000 characters are its upper bound.",
    "The input (9000 tokens) is longer than the model's context length (3000 tokens).",
    "Requested token count exceeds the model's maximum context length of 3000 tokens. You requested a total of 9000.",
    "request (9000 tokens) exceeds the available context size (3000 tokens), try increasing it",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "the input length exceeds the context length",
    "prompt too long; exceeded max context length by 6000 tokens",
    "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context length "
    "of only 3000 tokens, which is not enough.",
    "The number of tokens to keep from the initial prompt is greater than the context length.",
    "`inputs` tokens + `max_new_tokens` must be <= 3000. Given: 9000 `inputs` tokens: too many tokens",
    "Request Entity Too Large",
)


@pytest.mark.parametrize(
    ("words", "status"), [*((words, 400) for words in WORDS), (WORDS[0], 422), (WORDS[5], 500), ("", 413)]
)
async def test_the_error_for_too_long_a_prompt_is_recognised_in_every_servers_words(words: str, status: int) -> None:
    def chat(body: dict[str, Any]) -> object:
        long = sum(len(message["content"]) for message in body["messages"]) > 2500
        return respond({"error": words}, status) if long else completion("Safety: Safe")

    odd = Odd({"data": [{"id": "guard", "max_model_len": 32768}]}, chat=chat)
    async with guard_at(odd) as guard:
        await guard.judge([Turn("user", "hello")])
        assert (await guard.judge([Turn("user", "a calm day " * 1000)])).severity is Severity.SAFE


async def test_a_text_of_few_tokens_and_many_characters_is_read_in_windows() -> None:
    """vLLM limits characters as well; a hundred thousand emoji are no tokens for the demo guard."""

    def chat(body: dict[str, Any]) -> object:
        if len(body["messages"][-1]["content"]) > 20_480:
            words = "This model's maximum context length is 2048 tokens. Your prompt contains 100000 characters."
            return respond({"error": {"message": words}}, 400)
        return completion("Safety: Safe")

    odd = Odd({"data": [{"id": "guard", "max_model_len": 2048}]}, {"count": 25, "tokens": [1]}, chat)
    async with guard_at(odd) as guard:
        assert (await guard.judge([Turn("user", "🙂" * 100_000)])).severity is Severity.SAFE
        assert (await guard.judge([Turn("user", "🙂" * 25_000)])).severity is Severity.SAFE


@pytest.mark.parametrize("route", ["/v1/models", "/v1/chat/completions"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_reported_and_not_followed(route: str, status: int) -> None:
    followed = []

    def elsewhere(request: Request) -> Response:
        followed.append(request.headers.get("authorization"))
        return JSONResponse(completion())

    odd = Odd()
    other = Starlette(routes=[Route("/{path:path}", elsewhere, methods=["GET", "POST"])])
    with serve(other) as target:
        moved = respond("", status, location=f"{target}{route}?token=hidden")
        setattr(odd, "models" if route.endswith("models") else "chat", moved)
        verdict = await judged(odd, api_key="a-secret-key")
        assert not verdict.reached
        assert f"redirects to {target}{route}" in str(verdict.problem)
        assert "Set the guard's address" in str(verdict.problem)
    assert "hidden" not in str(verdict.problem)
    assert followed == []


@pytest.mark.parametrize(
    "reply",
    [
        lambda quoted: respond({"error": {"message": f"Incorrect API key provided: {quoted}"}}, 401),
        lambda quoted: respond({"error": f"wrong: Bearer {quoted}"}, 403),
        lambda quoted: respond("x" * 195 + quoted, 400),
        lambda quoted: respond(f"<html>{quoted}", 500),
        lambda quoted: respond({"error": {"message": f"{quoted} has no credit"}}),
        lambda quoted: respond("", 307, location=f"http://elsewhere/{quoted}/v1"),
        lambda quoted: completion(f"Hello {quoted}"),
        lambda quoted: completion("y" * 70 + quoted),
    ],
)
@pytest.mark.parametrize("key", ["sk-a-secret-key", 'with"quote\\s'])
async def test_a_key_that_the_server_quotes_is_masked(reply: Callable[[str], object], key: str) -> None:
    verdict = await judged(Odd(chat=reply(key)), api_key=key)
    assert not verdict.reached
    assert not any(key[:length] in str(verdict.problem) for length in (len(key), 8))


@pytest.mark.parametrize("key", ["ключ", "with\nnewline", "a\x00b"])
async def test_a_key_that_no_header_can_carry_is_reported_as_a_wrong_setting(key: str) -> None:
    problem = str((await judged(Odd(), api_key=key)).problem)
    assert "key" in problem
    assert "bug" not in problem


async def test_an_internal_error_is_reported_as_our_bug(caplog: pytest.LogCaptureFixture) -> None:
    async with guard_at(Odd()) as guard:
        for turns in ([], [Turn("user", None)], [Turn("user", 5)], [None]):  # type: ignore[arg-type]
            verdict = await guard.judge(turns)  # type: ignore[arg-type]
            assert not verdict.reached
            assert "our bug" in str(verdict.problem)
    assert len(caplog.records) == 4
    assert all(record.name == "qwen3guard" and record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    "text",
    ["🙂" * 100_000, "安静" * 200_000, "\ud800" * 10, "a" * 1_000_000, "\u0301" * 50_000, " \n" * 100_000, "\x00x"],
)
async def test_no_turn_makes_the_guard_fail(text: str) -> None:
    verdict = await judged_text(text)
    assert verdict.problem is None or "bug" not in verdict.problem


async def judged_text(text: str) -> Verdict:
    async with guard_at(Odd(chat=completion("Safety: Safe"))) as guard:
        return await guard.judge([Turn("user", text)])
