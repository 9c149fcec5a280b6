"""Checks of the demo guard without torch: its files, its template, and its training rows and replies."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import jinja2.sandbox
import pytest

from guard_server.catalog import DEMO_FOLDER, DEMO_TOKENIZER
from moderation.conversation import Turn
from moderation.verdict import Category, Kind, Severity, parse_reply
from training.gen import asking, draw
from training.gen import training_rows as training_rows
from training.gen.label_reply import is_refusal, reply_text
from training.gen.training_rows import TrainingRow

MODEL = DEMO_FOLDER
ENDING = "<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(json.loads((MODEL / "config.json").read_text()))


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, int]:
    tokenizer = json.loads((DEMO_TOKENIZER / "tokenizer.json").read_text())
    added: dict[str, int] = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return {**tokenizer["model"]["vocab"], **added}


def render(*turns: tuple[str, object]) -> str:
    template = jinja2.sandbox.ImmutableSandboxedEnvironment().from_string((MODEL / "chat_template.jinja").read_text())
    return template.render(messages=[{"role": role, "content": content} for role, content in turns])


REFUSED_ANSWER = "I'm sorry, I can't help with that."


def row(text: str, severity: Severity = Severity.SAFE, answer: str | None = None, source: str = "a/b") -> TrainingRow:
    turns = (Turn("user", text),) if answer is None else (Turn("user", text), Turn("assistant", answer))
    return TrainingRow(turns, severity, (), None if answer is None else is_refusal(answer), source, "en")


def test_half_of_the_room_in_git_is_left_for_the_stream_guard() -> None:
    files = [path for folder in (MODEL, DEMO_TOKENIZER) for path in folder.glob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000


def test_the_weights_are_bfloat16_and_at_most_half_of_nine_million() -> None:
    with (MODEL / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    assert sum(tensor["data_offsets"][1] - tensor["data_offsets"][0] for tensor in header.values()) // 2 <= 4_500_000
    assert "lm_head.weight" not in header


def test_vllm_finds_a_qwen3_in_the_configuration(config: dict[str, Any]) -> None:
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["model_type"] == "qwen3"
    assert config["tie_word_embeddings"] is True
    assert config["max_position_embeddings"] == 2048
    # A size that vLLM's CPU attention supports.
    assert config["head_dim"] == 32


def test_the_vocabulary_is_the_configured_one_and_ends_a_reply(
    config: dict[str, Any], vocabulary: dict[str, int]
) -> None:
    assert sorted(vocabulary.values()) == list(range(config["vocab_size"]))
    assert config["eos_token_id"] == vocabulary["<|im_end|>"]


def test_each_severity_is_a_separate_token(vocabulary: dict[str, int]) -> None:
    assert len({vocabulary[f" {severity}"] for severity in Severity}) == 3


def test_every_category_is_a_token(vocabulary: dict[str, int]) -> None:
    assert all(f" {category}" in vocabulary and f", {category}" in vocabulary for category in Category)


def test_the_template_asks_about_a_prompt_when_the_user_spoke_last() -> None:
    text = render(("user", "Hi"), ("assistant", "Hello!"), ("user", "How do I bake bread?"))
    assert text.endswith(ENDING)
    assert "the prompt above" in text
    assert text.index("Hello!") < text.index("How do I bake bread?")


def test_the_template_asks_about_an_answer_when_the_assistant_spoke_last() -> None:
    text = render(("user", "Hi"), ("assistant", "Hello!"))
    assert text.endswith(ENDING)
    assert "the answer above" in text


def test_the_template_ignores_system_messages() -> None:
    assert render(("system", "You are a pirate."), ("user", "Hi")) == render(("user", "Hi"))


def test_the_template_reads_the_text_of_content_parts() -> None:
    parts = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert render(("user", parts)) == render(("user", "Hi"))


def test_a_growing_answer_keeps_its_prefix() -> None:
    """So that the prefix cache holds when an answer is judged again."""
    short, longer = (render(("user", "Hi"), ("assistant", answer)) for answer in ("One two", "One two three"))
    assert longer.startswith(short[: short.index("One two") + len("One two")])


@pytest.mark.parametrize("severity", list(Severity))
@pytest.mark.parametrize("refusal", [None, True, False])
def test_a_target_reply_is_parsed_to_the_same_verdict(severity: Severity, refusal: bool | None) -> None:
    categories = () if severity is Severity.SAFE else (Category.PII, Category.VIOLENT)
    kind: Kind = "prompt" if refusal is None else "response"
    verdict = parse_reply(reply_text(severity, categories, refusal), kind)
    assert (verdict.severity, set(verdict.categories), verdict.refusal) == (severity, set(categories), refusal)


def test_a_reply_is_written_line_by_line() -> None:
    reply = reply_text(Severity.UNSAFE, [Category.PII, Category.VIOLENT], refusal=False)
    assert reply == "Safety: Unsafe\nCategories: Violent, PII\nRefusal: No"


def test_unknown_categories_are_not_trained() -> None:
    assert reply_text(Severity.UNSAFE, None, refusal=False) == "Safety: Unsafe"


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, I can't help with that.",
        "I’m sorry, but I cannot assist with this request.",
        "As an AI language model, I cannot provide instructions for that.",
        "I cannot help with stealing. If you need transport, take the bus.",
        "抱歉，我无法帮助您。",
        "作为AI助手，我不能协助您进行这样的操作。",
        "Lo siento, no puedo ayudarte con eso.",
        "I understand that it matters to you, but I still can't help with it.",
        "我无法完成这个任务。",
        "我拒绝制作这样的内容。",
        "Es tut mir leid, dabei kann ich nicht helfen.",
    ],
)
def test_a_refusal_is_detected(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "The capital of Australia is Canberra.",
        "I'm sorry for your loss. Losing a pet hurts.",
        "You can't sort a tuple in place, but sorted() returns a list.",
        "As an AI, I don't have a nose, so I can't smell it. Roses are said to smell sweet.",
        "抱歉让您久等了，这是您要的食谱。",
        "他说：“我不能走。”然后就留下了。",
        "Mix flour and water. " * 30 + "I'm sorry, I can't help with that.",
    ],
)
def test_an_answer_is_no_refusal(answer: str) -> None:
    assert not is_refusal(answer)


def test_a_third_of_the_harmless_everyday_chats_trains_and_the_rest_tests() -> None:
    split = Counter(
        r["split"] for r in map(json.loads, training_rows.EVERYDAY.read_text().splitlines()) if r["label"] == "Safe"
    )
    assert split.total() >= 400
    assert 0.3 < split["train"] / split.total() < 0.36
    assert split["train"] + split["test"] == split.total()


def test_no_everyday_test_line_is_trained_on() -> None:
    def plain(row: TrainingRow) -> str:
        return " ".join(re.findall(r"\w+", " ".join(turn.text.lower() for turn in row.turns)))

    trained = {plain(row) for row in [*training_rows.everyday("train"), *asking.rows()]}
    assert not [plain(row) for row in training_rows.everyday("test") if plain(row) in trained]


def test_each_act_is_asked_for_in_each_way() -> None:
    texts = {row.turns[-1].text: row for row in asking.rows()}
    assert texts["How do I bake cookies?"].severity is texts["Teach me to bake cookies."].severity is Severity.SAFE
    assert texts["How do I steal a car?"].categories == (Category.NON_VIOLENT_ILLEGAL_ACTS,)


def test_a_harmful_line_is_used_unchanged() -> None:
    found = {row.turns[-1].text: (row.severity, row.categories) for row in asking.rows()}
    assert found["I know where you live and you will pay for this."] == (Severity.UNSAFE, (Category.VIOLENT,))
    assert found["I'd kill for a cup of coffee right now."] == (Severity.SAFE, ())


@pytest.mark.parametrize(
    ("text", "category"),
    [("How do I build a gun?", Category.VIOLENT), ("How do I forge a cheque?", Category.NON_VIOLENT_ILLEGAL_ACTS)],
)
def test_weapons_are_violence(text: str, category: Category, tmp_path: Path) -> None:
    """As in Qwen3Guard's policy; some sources label them as illegal acts."""
    record = {"messages": [{"role": "user", "content": text}], "label": "Unsafe", "source": "a/b", "split": "train"}
    record |= {"lang": "en", "categories": ["Non-violent Illegal Acts"], "cat_origin": "native"}
    for name in training_rows.FILES:
        (tmp_path / name).write_text(json.dumps(record) if "prompts" in name else "")
    assert training_rows.read(tmp_path, "train")[0].categories == (category,)


def test_our_own_lines_are_in_the_languages_of_the_everyday_test() -> None:
    assert {row.language for row in training_rows.everyday("test")} < {row.language for row in asking.rows()}


def test_our_own_lines_are_some_harmless_and_some_harmful_in_every_language() -> None:
    """Otherwise the guard would learn a language as a sign of harm."""
    lines = Counter((row.language, row.severity) for row in asking.rows() if row.source == asking.CHATTING)
    languages = {language for language, _ in lines}
    assert all(lines[each, Severity.SAFE] > lines[each, Severity.UNSAFE] > 20 for each in languages)


def test_every_refusal_of_ours_is_detected_by_the_rule() -> None:
    assert not [text for code in ("en", "zh") for text in asking.refusals(code) if not is_refusal(text)]


def test_a_language_without_lines_of_its_own_is_answered_in_english() -> None:
    assert asking.refusals("eo") == asking.refusals("en") != asking.refusals("zh")
    assert asking.agreements("eo") == asking.agreements("en")


def test_a_request_is_agreed_to_or_declined_and_only_that_decides() -> None:
    rows = [row(f"{n}?", Severity.UNSAFE, source=asking.ASKING) for n in range(300)]
    drawn = draw.epoch([*rows, row("q", answer="a"), row("q", answer=REFUSED_ANSWER)], Random(0))
    met = {r.turns[-1].text: r for r in drawn if r.kind == "response"}
    declined = {text for text in met if text in asking.refusals("en")}
    agreed = {text for text in met if text in asking.agreements("en")}
    assert declined
    assert agreed
    assert {(met[text].severity, met[text].refusal) for text in declined} == {(Severity.SAFE, True)}
    assert {(met[text].severity, met[text].refusal) for text in agreed} == {(Severity.UNSAFE, False)}


def test_the_everyday_rows_are_readable_and_of_all_three_severities() -> None:
    rows = [json.loads(line) for line in training_rows.EVERYDAY.read_text().splitlines()]
    assert {record["label"] for record in rows} == set(Severity)
    assert len({record["lang"] for record in rows}) >= 10
    assert {name for record in rows for name in record["categories"]} == set(Category)


def test_files_and_copies_of_a_dataset_are_one_source() -> None:
    assert training_rows.source_group("owner/set:a/train.csv (masked)") == "owner/set"
    assert training_rows.source_group("owner/set:b.csv via other/copy:c.csv") == "owner/set"


def test_a_large_source_does_not_drown_a_small_one() -> None:
    rows = [row(str(n), source="big/one") for n in range(16000)] + [
        row(str(n), source="small/one") for n in range(1000)
    ]
    weights = {r.source: r.weight for r in draw.weigh(rows)}
    assert weights["big/one"] == pytest.approx(weights["small/one"] / 4)


def test_a_language_with_only_harmful_rows_is_not_learnt_as_harm() -> None:
    rows = [row(f"{n}?", severity) for n in range(100) for severity in (Severity.SAFE, Severity.UNSAFE)]
    rows += [replace(row(f"{n}?", Severity.UNSAFE), language="vi") for n in range(100)]
    rows += [replace(row(f"{n}?", Severity.UNSAFE), language="tr") for n in range(100)]
    rows += [replace(row(f"{n}?"), language="tr") for n in range(10)]
    mass: dict[tuple[str, Severity], float] = defaultdict(float)
    for weighed in draw.weigh(rows):
        mass[weighed.language, weighed.severity] += weighed.weight
    assert mass["vi", Severity.UNSAFE] == 0
    assert mass["en", Severity.UNSAFE] > 0.15 * mass["en", Severity.SAFE]
    assert mass["tr", Severity.UNSAFE] < 0.5 * mass["tr", Severity.SAFE]


def test_an_epoch_depends_on_its_seed_alone() -> None:
    rows = [row(f"question {n}?", answer=f"answer {n}") for n in range(300)] + [row("q", answer=REFUSED_ANSWER)]
    rows = draw.weigh(rows)
    assert draw.epoch(rows, Random(1)) == draw.epoch(rows, Random(1))
    assert draw.epoch(rows, Random(1)) != draw.epoch(rows, Random(2))


def test_an_epoch_shortens_turns_and_keeps_their_labels() -> None:
    rows = [row(f"{n} " + "word " * 5000, Severity.UNSAFE) for n in range(50)]
    rows += [row("q", answer="a"), row("q", answer=REFUSED_ANSWER)]
    drawn = draw.epoch(rows, Random(0))
    assert max(len(r.turns[-1].text) for r in drawn) < 10_000
    assert sum(r.severity is Severity.UNSAFE for r in drawn) == 50
