"""Real dialects of model servers, through guarded models: nothing unsafe is shown, and one text stays one text."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import CALM, request
from tests.stands.guarded_models import Streamed, complete, stream
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import StubModel
from tests.stands.models.upstream_dialects import DIALECTS, HEAD, chunk, spoken
from tests.stands.plugins import Pipeline, audited, set_valves
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

EN = TEXTS["en"]
CASES = {path.stem: json.loads(path.read_text()) for path in Path(__file__).parents[1].glob("cases/upstreams/*.json")}
UNSAFE = "First take the bomb and light it."


def answers(stub: StubGuard) -> list[str]:
    """The answers, or parts of them, that the guard read."""
    turns = [body["messages"][-1] for body in stub.requests]
    return [turn["content"] for turn in turns if turn["role"] == "assistant"]


def longest(stub: StubGuard) -> str:
    """The last reading: an abandoned check may arrive after it."""
    return max(answers(stub), key=len)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "models" not in case["right"]])
async def test_a_case_from_practice(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    right = case["right"]
    model.chunks, model.reply = case.get("chunks"), case.get("body")
    answer = await stream(pipeline)
    assert right.get("shown_never_contains", "bomb") not in answer.raw
    if "content" in right:
        assert (answer.said(), answer.finish) == (right["content"], ["stop"])
    else:
        assert answer.finish == [right["finish_reason"]]
    assert "error" not in answer.raw
    assert f'"{right.get("sent_on_never_has_key", "event")}"' not in answer.raw
    if read := right.get("guard_reads_once") or right.get("guard_reads_in_the_end"):
        # The last words of the answer may arrive after its refusal.
        last = longest(stub).split("\n")[0]
        assert (read.startswith(last), "take the bomb" in last) == (True, True)
    judged = sum(map(len, answers(stub)))
    assert judged <= right.get("characters_judged_at_most", judged)
    plain = len(right.get("content", "")) * right.get("characters_judged_at_most_times_plain", 10)
    assert "content" not in right or judged <= plain
    records = await audited(pipeline, tmp_path)
    assert records[-1].get("unjudged", []) == right.get("unjudged", [])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "models" in case["right"]])
async def test_a_model_list_from_practice(pipeline: Pipeline, model: StubModel, name: str) -> None:
    model.listing = CASES[name]["models"]
    await set_valves(pipeline, refresh_seconds=60)
    assert [entry["id"] for entry in pipeline.pipelines()] == CASES[name]["right"]["models"]


@pytest.mark.parametrize(
    ("listing", "valve", "ids"),
    [
        ({"data": [{"id": "a"}, {"id": None}, {"id": 7}, 3, None, {"id": "x" * 5000}]}, "*", ["a"]),
        ({"models": [{"name": "a:1b"}, {"name": "b"}]}, "*", ["a:1b", "b"]),
        (["a", "b", "a"], "*", ["a", "b"]),
        ({"data": [{"id": "a\n"}, {"id": "b"}]}, "*", ["b"]),
        ({"data": None}, "mine, other*", ["mine"]),
        ({"detail": "Not Found"}, "mine", ["mine"]),
        ([], "mine", ["mine"]),
        ("no list", "*", []),
    ],
)
async def test_any_shape_of_a_model_list_is_read(
    pipeline: Pipeline, model: StubModel, listing: Any, valve: str, ids: list[str]
) -> None:
    model.listing = listing
    await set_valves(pipeline, models=valve)
    assert [entry["id"] for entry in pipeline.pipelines()] == ids
    model.listing = [{"id": "mine"}]
    await set_valves(pipeline, models="mine")
    assert [entry["id"] for entry in pipeline.pipelines()] == ["mine"]


@pytest.mark.parametrize("place", ["content", "reasoning"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_nothing_unsafe_is_shown_in_any_dialect(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, dialect: str, place: str
) -> None:
    said: dict[str, Any] = {"content": UNSAFE} if place == "content" else {"content": "Fine.", "reasoning": UNSAFE}
    model.chunks = spoken(dialect, **said)
    answer = await stream(pipeline)
    assert "bomb" not in answer.raw
    assert answer.finish == ["content_filter"]
    # Once, complete, and without line breaks that the server did not send.
    whole = "\n".join(filter(None, [said.get("reasoning"), said["content"]]))
    read = longest(stub)[: len(whole)]
    # The last words may arrive after the refusal.
    assert (whole.startswith(read), "take the bomb" in read) == (True, True)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_harmless_answer_arrives_whole_in_one_frame_per_check(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, dialect: str
) -> None:
    model.delay = 0.003
    model.chunks = spoken(dialect, CALM, reasoning="Let me think of the sea. ")
    answer = await stream(pipeline)
    assert answer.finish == ["stop"]
    if dialect != "mistral":
        assert answer.said() == CALM
    # One check may clear the end of the reasoning and the beginning of the content.
    assert len([delta for delta in answer.deltas if delta]) <= len(answers(stub)) + 2


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name not in ("mistral", "whole messages")])
async def test_streamed_and_unstreamed_are_read_as_the_same_text(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, dialect: str
) -> None:
    whole = spoken(dialect, CALM, reasoning="Let me think of the sea. ", size=10_000)
    message: dict[str, Any] = {}
    for sent in whole:
        for choice in sent["choices"]:
            message |= {key: value for key, value in choice["delta"].items() if value}
    model.chunks = spoken(dialect, CALM, reasoning="Let me think of the sea. ")
    await stream(pipeline)
    streamed = longest(stub)
    extras = {key: whole[0][key] for key in ("citations", "search_results") if key in whole[0]}
    model.reply = {**HEAD, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **extras}
    stub.requests.clear()
    await set_valves(pipeline, timeout_seconds=PATIENCE - 1)  # A new guard, without cached verdicts.
    reply = await complete(pipeline)
    # A check of the streamed answer that was given up may arrive late, with less of it.
    assert longest(stub) == streamed
    assert reply["choices"][0]["message"]["content"] == CALM


def calling(*pieces: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chunks with one piece of a tool call each, or with several."""
    lists = [piece if isinstance(piece, list) else [piece] for piece in pieces]
    return [*(chunk({"tool_calls": each}) for each in lists), chunk({}, "tool_calls")]


def function(name: str | None = None, arguments: Any = "", **more: Any) -> dict[str, Any]:
    return {**more, "function": {"arguments": arguments, **({"name": name} if name else {})}}


FIRST, SECOND = '{"q": "a calm sea"}', '{"q": "a long walk"}'


@pytest.mark.parametrize(
    "chunks",
    [
        calling(
            [function("a", "", index=0, id="1"), function("b", "", index=1, id="2")],
            *(
                [function(None, FIRST[at : at + 5], index=0), function(None, SECOND[at : at + 5], index=1)]
                for at in range(0, 20, 5)
            ),
        ),
        calling(
            *(function("a", FIRST[at : at + 5], index=0, id="1") for at in range(0, 20, 5)),
            function("b", SECOND, index=1, id="2"),
        ),
        calling(function("a", FIRST, id="1"), function("b", SECOND, id="2")),
        calling(function("a", FIRST, id=""), function("b", SECOND, id="")),
        calling(function("a", FIRST, index=0, id="1"), function("b", SECOND, index=0, id="2")),
        calling([function("a", FIRST), function("b", SECOND)]),
        calling(
            *(function("a" if at == 0 else None, FIRST[at : at + 5], index=0, id=f"x{at}") for at in range(0, 20, 5)),
            function("b", SECOND, index=1, id="2"),
        ),
        calling(function("a", json.loads(FIRST), index=0), function("b", json.loads(SECOND), index=1)),
    ],
    ids=[
        "in turn",
        "name repeated",
        "no index",
        "no index and no id",
        "one index for all",
        "in one list",
        "an id a piece",
        "objects",
    ],
)
async def test_tool_calls_are_kept_apart_and_each_is_one_text(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, chunks: list[dict[str, Any]]
) -> None:
    model.chunks = chunks
    answer = await stream(pipeline)
    assert longest(stub) == f"a {FIRST}\nb {SECOND}"
    calls = [call for delta in answer.deltas for call in delta["tool_calls"]]
    found = [(call["index"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
    assert found == [(0, "a", FIRST), (1, "b", SECOND)]
    assert answer.finish == ["tool_calls"]


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "run", "input": UNSAFE}}]},
        {"tool_calls": [function(f"use the {UNSAFE}", "{}", index=0)]},
        {"tool_calls": [function("a", {"q": UNSAFE}, index=0)]},
        {"tool_calls": [function("a", {UNSAFE: 1}, index=0)]},
        {"tool_calls": [{**function("a", "{}", index=0), "extra_content": {"google": {"note": UNSAFE}}}]},
        {"tool_calls": [{**function("a", "{}", index=0), "id": UNSAFE}]},
        {"tool_calls": [{**function("a", "{}", index=0), "type": UNSAFE}]},
        {"function_call": {"name": "a", "arguments": UNSAFE}},
        {"refusal": UNSAFE},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": UNSAFE, "index": 0}]},
        {"reasoning_details": [{"type": UNSAFE, "index": 0}]},
        {"reasoning_details": [{"type": "x", "id": UNSAFE}]},
        {"annotations": [{"type": "url_citation", "url_citation": {"title": UNSAFE, "url": "https://a.example"}}]},
        {"audio": {"id": "a", "transcript": UNSAFE, "data": "aB3/" * 40}},
        {"images": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}, "alt": UNSAFE}]},
        {"provider_specific_fields": {UNSAFE: True}},
        {"x": {"y": [{UNSAFE: "z"}]}},
        {UNSAFE: 1},
        {UNSAFE: [{"z": 1}]},
        {"provider_specific_fields": {"note": [{"deep": [UNSAFE]}]}},
        {"extra_content": {"google": {"thought": UNSAFE}}},
        {"id": UNSAFE},
        {"type": UNSAFE},
        {"signature": UNSAFE},
        {"content": [{"type": "text", "text": UNSAFE}]},
        {"content": [{"type": "output_text", "text": {"value": UNSAFE}}]},
        {"content": "data:image/png;base64,AAAA) " + UNSAFE},
    ],
)
@pytest.mark.parametrize("stream_it", [True, False])
async def test_words_in_any_place_of_an_answer_are_judged(
    pipeline: Pipeline, model: StubModel, delta: dict[str, Any], stream_it: bool
) -> None:
    if stream_it:
        model.chunks = [chunk({"content": "Fine. "}), chunk(delta), chunk({}, "stop")]
        answer = await stream(pipeline)
        assert ("bomb" in answer.raw, answer.finish) == (False, ["content_filter"])
    else:
        model.reply = {**HEAD, "choices": [{"index": 0, "message": delta, "finish_reason": "stop"}]}
        reply = await complete(pipeline)
        assert "bomb" not in json.dumps(reply)
        assert reply["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    "extras",
    [
        {"event": {"type": "status", "data": {"description": UNSAFE}}},
        {"type": "response.output_text.delta", "delta": UNSAFE},
        {"type": "response.completed", "response": {"output": [UNSAFE]}},
        {"selected_model_id": UNSAFE},
        {"sources": [{"document": [UNSAFE]}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": UNSAFE}]}]},
        {"id": UNSAFE},
        {"model": UNSAFE},
        {"system_fingerprint": UNSAFE},
        {"usage": {"note": UNSAFE}},
        {"prompt_filter_results": [{"note": UNSAFE}]},
        {"anything": UNSAFE},
        {UNSAFE: 1},
    ],
)
@pytest.mark.parametrize("stream_it", [True, False])
async def test_fields_next_to_the_choices_are_dropped(
    pipeline: Pipeline, model: StubModel, extras: dict[str, Any], stream_it: bool
) -> None:
    if stream_it:
        model.chunks = [{**chunk({"content": "Fine."}), **extras}, extras, chunk({}, "stop")]
        answer = await stream(pipeline)
        assert (answer.said(), answer.finish) == ("Fine.", ["stop"])
        raw = answer.raw
    else:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Fine."}, "finish_reason": "stop"}
        model.reply = {**HEAD, "choices": [choice], **extras}
        reply = await complete(pipeline)
        assert reply["choices"][0]["message"]["content"] == "Fine."
        raw = json.dumps(reply)
    assert "bomb" not in raw
    assert (
        not {"event", "type", "selected_model_id", "sources", "output"}
        & set(extras)
        & set(json.loads(raw.split("\n")[0].removeprefix("data: ")))
    )


@pytest.mark.parametrize("stream_it", [True, False])
@pytest.mark.parametrize("key", ["citations", "search_results", "related_questions"])
async def test_sources_are_judged_and_passed_on(
    pipeline: Pipeline, model: StubModel, key: str, stream_it: bool
) -> None:
    for words, shown in (("A calm page", True), (UNSAFE, False)):
        extras = {key: [{"title": words, "url": "https://a.example"}]}
        message = {"role": "assistant", "content": "Fine."}
        if stream_it:
            model.chunks = [{**chunk({"content": "Fine."}), **extras}, {**chunk({}, "stop"), **extras}]
            raw = (await stream(pipeline)).raw
        else:
            model.reply = {**HEAD, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **extras}
            raw = json.dumps(await complete(pipeline))
        assert (words in raw) is shown
        assert (EN["answer_withheld"] in raw) is not shown


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"error": {"message": "provoked"}}, "The model server failed: provoked"),
        ({"object": "error", "message": "provoked", "code": 400}, "The model server failed: provoked"),
        ({"detail": "provoked"}, "The model server failed: provoked"),
        ({"error": "provoked"}, "The model server failed: provoked"),
        ({"model": "m", "message": {"role": "assistant", "content": UNSAFE}, "done": True}, "no chat completion"),
        ({"object": "response", "output": [{"type": "message", "content": UNSAFE}]}, "no chat completion"),
        ({"choices": []}, "no chat completion"),
        ({"choices": UNSAFE}, "no chat completion"),
        ([UNSAFE], "no chat completion"),
        ({"error": {"message": UNSAFE}}, "The model server failed."),
    ],
)
@pytest.mark.parametrize("stream_it", [True, False])
async def test_a_reply_that_is_no_completion_is_reported_and_recorded(
    pipeline: Pipeline, model: StubModel, tmp_path: Path, sent: Any, said: str, stream_it: bool
) -> None:
    model.reply = sent
    if stream_it:
        answer = await stream(pipeline)
        told, raw = answer.errors[0]["message"], answer.raw
    else:
        with pytest.raises(HTTPException) as raised:
            await complete(pipeline)
        told = raw = raised.value.detail
    assert said in told
    assert "bomb" not in raw
    records = await audited(pipeline, tmp_path)
    assert "the upstream failed" in records[-1]["problem"]


@pytest.mark.parametrize(
    ("sent", "content", "error"),
    [
        (['data: {"error": {"message": "provoked"}}\n\n'], None, "provoked"),
        ([chunk({"content": "A calm sea. "}), '{"error": {"message": "provoked"}}\n'], "A calm sea. ", "provoked"),
        ([chunk({"content": "A calm sea. "}), 'event: error\ndata: {"message": "provoked"}\n\n'], None, "provoked"),
        ([chunk({"content": "A sea. "}), {**HEAD, "error": {"message": "provoked"}, "choices": []}], None, "provoked"),
        ([chunk({"content": "A sea. "}), chunk({}, "error", error={"message": "provoked"})], None, "provoked"),
        ([": ping\n\n", "data: ping\n\n", chunk({"content": "A sea."})], "A sea.", None),
        (["\ufeff", chunk({"content": "A sea."}), chunk({}, "stop")], "A sea.", None),
        ([json.dumps(chunk({"content": "A sea."})).join(["data: ", "\r\r"])], "A sea.", None),
        (['data: {"choices":\r\ndata: [{"delta": {"content": "A sea."}}]}\r\n\r\n'], "A sea.", None),
        ([chunk({"content": "A \ud83d"}), chunk({"content": "\ude0a sea."})], "A \U0001f60a sea.", None),
        ([chunk({"content": "A sea."}), "data: [DONE]\n\n", 'data: {"x": 1}\n\n'], "A sea.", None),
    ],
)
async def test_streams_are_read_as_tolerantly_as_clients_do(
    pipeline: Pipeline, model: StubModel, sent: list[Any], content: str | None, error: str | None
) -> None:
    model.chunks = sent
    answer = await stream(pipeline)
    errors = [each["error"]["message"] for each in answer.chunks if "error" in each]
    assert errors == ([f"The model server failed: {error}"] if error else [])
    assert content is None or answer.said() == content
    assert answer.finish == ["error" if error else "stop"]


async def test_an_interrupted_answer_is_distinguished_from_a_complete_one(pipeline: Pipeline, model: StubModel) -> None:
    model.chunks = [chunk({"content": "A sea."})]
    assert (await stream(pipeline)).finish == ["stop"]
    model.done = False
    answer = await stream(pipeline)
    assert answer.finish == ["error"]
    assert "before its answer was complete" in answer.raw


@pytest.mark.parametrize("stream_it", [True, False])
@pytest.mark.parametrize(
    ("delta", "kind"),
    [
        (
            {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "aB3/" * 400_000}}]},
            "image",
        ),
        ({"images": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]}, "image"),
        ({"content": "![a](data:image/png;base64," + "aB3/" * 400_000 + ") "}, "image"),
        ({"audio": {"id": "a", "data": "aB3/" * 40}}, "audio"),
        ({"files": [{"name": "a.pdf", "data": "aB3/" * 40}]}, "file"),
        ({"attachments": [[{"url": "data:application/pdf;base64,AAAA"}]]}, "file"),
    ],
    ids=["picture", "its address", "in Markdown", "sound", "files", "attachments"],
)
async def test_pictures_and_sound_pass_unjudged_or_not_at_all(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, tmp_path: Path, delta: Any, kind: str, stream_it: bool
) -> None:
    async def answer() -> str:
        if stream_it:
            model.chunks = [chunk({"content": "Here. "}), chunk(delta), chunk({}, "stop")]
            return (await stream(pipeline)).raw
        message = {"role": "assistant", "content": "Here. ", **delta}
        model.reply = {**HEAD, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return json.dumps(await complete(pipeline), ensure_ascii=False)

    sent = max((text for text in json.dumps(delta).split('"')), key=len)
    assert sent in await answer()
    assert max(map(len, answers(stub))) < 300
    await set_valves(pipeline, images="withhold")
    raw = await answer()
    assert sent not in raw
    assert any(texts["not_checked"] in raw for texts in TEXTS.values())
    records = [record for record in await audited(pipeline, tmp_path) if record["direction"] == "response"]
    assert [(record["unjudged"], record["action"]) for record in records] == [([kind], "pass"), ([kind], "withhold")]


async def test_redirects_are_reported_and_not_followed(pipeline: Pipeline, model_url: str, model: StubModel) -> None:
    async def away(request: Request) -> Response:
        return RedirectResponse(f"{model_url}/chat/completions")

    with serve(Starlette(routes=[Route("/v1/{path:path}", away, methods=["GET", "POST"])])) as url:
        await set_valves(pipeline, upstream_base_urls=f"{url}/v1")
        answer = await stream(pipeline)
        assert "redirects" in answer.errors[0]["message"]
        with pytest.raises(HTTPException, match="redirects"):
            await complete(pipeline)
    assert model.requests == []


async def test_headers_and_query_of_an_upstream_are_sent_and_never_quoted(
    pipeline: Pipeline, model: StubModel, model_url: str
) -> None:
    await set_valves(
        pipeline,
        upstream_base_urls=f"{model_url}?api-version=2024-10-21&code=secret-code",
        upstream_api_keys="none",
        upstream_headers='{"api-key": "secret-key"}',
    )
    await stream(pipeline)
    assert model.queries[-1] == {"api-version": "2024-10-21", "code": "secret-code"}
    assert (model.headers[-1]["api-key"], model.keys[-1]) == ("secret-key", None)
    model.status, model.error = 500, "secret-code and secret-key are wrong"
    assert "*** and *** are wrong" in (await stream(pipeline)).raw
    # An upstream gets its own headers only.
    await set_valves(pipeline, upstream_base_urls=f"http://127.0.0.1:9/v1, {model_url}")
    model.status = 200
    await stream(pipeline, entry="llama3:8b~~2")
    assert "api-key" not in model.headers[-1]


@pytest.mark.parametrize("value", ["x", "[1]", '{"a b": "c"}', '{"a": 1}', '{"a": "b\\nc"}', '{"Host": "x"}'])
async def test_invalid_headers_are_a_bad_valve(pipeline: Pipeline, value: str) -> None:
    await set_valves(pipeline, upstream_headers=value)
    assert pipeline.valves.upstream_headers == "none"
    assert pipeline.valves.problems[0].startswith("upstream_headers")


async def test_the_users_identity_is_sent_to_upstreams_only_on_request(pipeline: Pipeline, model: StubModel) -> None:
    body = request()
    body["user"] = {"id": "u1", "role": "user", "name": "Änn Lee (a+b@c)", "email": "ann+%me@localhost"}
    await stream(pipeline, body)
    assert not [name for name in model.headers[-1] if name.startswith("x-openwebui")]
    await set_valves(pipeline, upstream_user_headers=True)
    for ask in (stream(pipeline, body), complete(pipeline, user=body["user"])):
        await ask
        told = {name: value for name, value in model.headers[-1].items() if name.startswith("x-openwebui")}
        assert told == {
            "x-openwebui-user-id": "u1",
            "x-openwebui-user-role": "user",
            "x-openwebui-user-name": "%C3%84nn Lee %28a%2Bb%40c%29",
            "x-openwebui-user-email": "ann+%me@localhost",
        }


async def test_every_size_and_number_is_limited(pipeline: Pipeline, model: StubModel) -> None:
    many: list[Any] = [
        [chunk({f"key{number}": "some words"}) for number in range(100)],
        [chunk({"tool_calls": [function(f"f{number}", "{}", index=number)]}) for number in range(200)],
        ['data: {"a": ' + "[" * 50_000 + "\n\n", "data: " + "[" * 100_000 + "]" * 100_000 + "\n\n"],
        [chunk({"x": json.loads("[" * 300 + '"some words"' + "]" * 300)})],
        [chunk({"content": "calm " * 1_700_000})],
    ]
    for chunks in many:
        model.chunks = chunks
        answer = await stream(pipeline)
        assert answer.finish == ["error"]
        assert isinstance(answer, Streamed)
