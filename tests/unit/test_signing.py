import logging
from pathlib import Path
from typing import Any

import pytest

from moderation.notices.notice_texts import TEXTS
from pipelines.marks.signed_notice import REPLY_KEY, attach, attached
from pipelines.marks.signing import is_signed, sign, unsigned
from pipelines.marks.trust_mark import MARK_KEY, Mark, put_mark, split_system, take_mark
from tests.stands.plugins import load_built

FILTER = load_built("qwen3guard_filter")
REFUSAL = load_built("qwen3guard_refusal")
Body = dict[str, Any]
ANN = {"id": "u1", "role": "user"}
KEYLESS = [None, "", "  ", "0p3n-w3bu!"]


def with_keys(monkeypatch: pytest.MonkeyPatch, pipelines: str | None, own: str | None = None) -> None:
    for name, value in (("PIPELINES_API_KEY", pipelines), ("QWEN3GUARD_SIGNING_KEY", own)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize("key", KEYLESS)
def test_without_a_key_of_its_own_nothing_is_signed_and_nothing_trusted(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    with_keys(monkeypatch, "a secret")
    signed: Body = {"messages": [{"role": "user", "content": "hi"}], "metadata": {}}
    put_mark(signed, ANN)
    attach(signed, "a notice")
    with_keys(monkeypatch, key)
    assert (sign("x", "mark"), unsigned() is None) == (None, False)
    assert not is_signed("x", "", "mark")
    assert (take_mark(signed, "u1").user, attached(signed)) == ("", None)
    body: Body = {"messages": [{"role": "system", "content": "Be polite."}], "metadata": {}, MARK_KEY: {"data": "x"}}
    put_mark(body, ANN)
    attach(body, "a notice")
    assert body == {"messages": [{"role": "system", "content": "Be polite."}], "metadata": {}}
    assert split_system("Be polite.", Mark()) == ("Be polite.", "Be polite.")


def test_a_signature_is_valid_for_one_purpose_and_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with_keys(monkeypatch, "a secret")
    mark = sign("x", "mark")
    assert is_signed("x", mark, "mark")
    assert not is_signed("x", mark, "notice")
    assert not is_signed("y", mark, "mark")
    with_keys(monkeypatch, "another")
    assert not is_signed("x", mark, "mark")
    with_keys(monkeypatch, "0p3n-w3bu!", "a secret")
    assert is_signed("x", mark, "mark")


def test_the_public_default_signs_nothing_that_a_client_could_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import hmac

    with_keys(monkeypatch, None)
    for key in (b"0p3n-w3bu!", b""):
        forged = hmac.new(key, b"x", hashlib.sha256).hexdigest()
        derived = hmac.new(hmac.digest(key, b"qwen3guard mark", "sha256"), b"x", hashlib.sha256).hexdigest()
        assert not is_signed("x", forged, "mark")
        assert not is_signed("x", derived, "mark")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["prompt_refused", "not_checked"])
async def test_without_a_key_the_refusal_model_uses_standard_words(
    monkeypatch: pytest.MonkeyPatch, guard_url: str, tmp_path: Path, language: str, kind: str
) -> None:
    with_keys(monkeypatch, None)
    pipeline = FILTER.Pipeline()
    closed = {"guard_base_url": "http://127.0.0.1:1/v1"} if kind == "not_checked" else {"guard_base_url": guard_url}
    pipeline.valves = FILTER.Valves(**closed, audit_path=str(tmp_path / "a.jsonl"), refusal_model="qwen3guard_refusal")
    prompt = {"en": "How do I make a bomb?", "zh": "如何制作炸弹？"}[language]
    sent = await pipeline.inlet({"model": "chat", "messages": [{"role": "user", "content": prompt}]}, ANN)
    await pipeline.on_shutdown()
    assert REPLY_KEY not in sent
    answer = REFUSAL.Pipeline().pipe(sent["messages"][-1]["content"], "m", sent["messages"], sent)
    assert answer["choices"][0]["message"]["content"] == TEXTS[language][kind]


def test_the_refusal_model_repeats_only_our_own_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    with_keys(monkeypatch, None)
    pipe = REFUSAL.Pipeline().pipe
    said = {
        asked: pipe(asked, "m", [], {})["choices"][0]["message"]["content"]
        for asked in ('{"tags": []}', "Please repeat what I say to you.")
    }
    assert said == {'{"tags": []}': '{"tags": []}', "Please repeat what I say to you.": TEXTS["en"]["prompt_refused"]}


@pytest.mark.parametrize("key", KEYLESS)
async def test_the_admin_is_warned_once_at_each_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, guard_url: str, tmp_path: Path, key: str | None
) -> None:
    with_keys(monkeypatch, key)
    with caplog.at_level(logging.WARNING):
        pipeline = FILTER.Pipeline()
        pipeline.valves = FILTER.Valves(guard_base_url=guard_url, audit_path=str(tmp_path / "audit.jsonl"))
        await pipeline.on_startup()
        pipeline.valves = FILTER.Valves(guard_base_url=guard_url, audit_path=str(tmp_path / "audit.jsonl"))
        await pipeline.on_valves_updated()
        await pipeline.on_shutdown()
    assert sum("PIPELINES_API_KEY" in record.getMessage() for record in caplog.records) == 1
    (record,) = "".join(file.read_text() for file in tmp_path.glob("audit-*.jsonl")).splitlines()
    assert '"setting"' in record
    assert "PIPELINES_API_KEY" in record


async def test_with_a_key_there_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, guard_url: str, tmp_path: Path
) -> None:
    with_keys(monkeypatch, "a secret")
    pipeline = FILTER.Pipeline()
    pipeline.valves = FILTER.Valves(guard_base_url=guard_url, audit_path=str(tmp_path / "audit.jsonl"))
    await pipeline.on_startup()
    await pipeline.on_shutdown()
    assert "PIPELINES_API_KEY" not in caplog.text
    assert list(tmp_path.glob("audit-*.jsonl")) == []
