"""Checks of the demo Stream guard without torch: its files, and the training targets."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import jinja2.sandbox
import pytest

from guard_server.catalog import DEMO_FOLDER, DEMO_STREAM_FOLDER, DEMO_TOKENIZER
from guard_server.stream.growing_tokens import Token
from guard_server.stream.head_labels import Labels
from guard_server.stream.live_stream import StreamPrompt
from moderation.conversation import Conversation, Turn
from moderation.verdict import Category, Severity
from training.gen.batches import batches
from training.gen.training_rows import TrainingRow
from training.stream import passages
from training.stream.passages import Passage, PassageReader

SAFE, CONTROVERSIAL, UNSAFE = Severity.SAFE, Severity.CONTROVERSIAL, Severity.UNSAFE
QUESTION = Turn("user", "What happened?")
BAD = "bad"


def encode(texts: Sequence[str]) -> list[list[Token]]:
    return [[Token(7, *match.span()) for match in re.finditer(r"\s*\S+", text)] for text in texts]


READER = PassageReader(lambda conversation: StreamPrompt([1, 2, 3], 1), encode, 256)


def judge(conversations: Sequence[Conversation]) -> list[Severity]:
    """Unsafe if a text has the bad word and does not end with "good"."""
    texts = [turns[-1].text for turns in conversations]
    return [UNSAFE if BAD in text and not text.endswith("good") else SAFE for text in texts]


def never_asked(conversations: Sequence[Conversation]) -> list[Severity]:
    assert not conversations
    return []


def row(answer: str, severity: Severity = UNSAFE) -> TrainingRow:
    categories = () if severity is SAFE else (Category.VIOLENT,)
    return TrainingRow((QUESTION, Turn("assistant", answer)), severity, categories, False, "a/b", "en")


def words(count: int, bad_at: int | None = None) -> str:
    return " ".join(BAD if at == bad_at else "word" for at in range(count))


def only(found: list[Passage]) -> Passage:
    assert len(found) == 1
    return found[0]


def test_an_answer_is_unsafe_from_the_first_prefix_on_which_the_judge_finds_unsafe() -> None:
    passage = only(passages.answers([row(words(40, bad_at=18))], READER, judge))
    # Prefixes of 8, 16, 24, 32 and 40 tokens: the one of 24 is the first with the word; its last token has index 23.
    assert passage.answer == (SAFE,) * 23 + (UNSAFE,) * 17
    assert passage.categories == (Category.VIOLENT,)
    assert len(passage.ids) == 3 + 40
    assert passage.places == slice(3, 43)


def test_a_prefix_that_is_found_bad_and_then_good_again_does_not_count() -> None:
    text = f"{words(16, bad_at=2)} {' '.join(['so'] * 7)} good {words(16)}"
    assert only(passages.answers([row(text)], READER, judge)).answer == (SAFE,) * 31 + (UNSAFE,) * 9


@pytest.mark.parametrize("text", [words(40), f"{words(40, bad_at=3)} good"])
def test_an_answer_that_the_judge_does_not_find_bad_at_its_end_is_dropped(text: str) -> None:
    assert passages.answers([row(text)], READER, judge) == []


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_an_answer_that_turns_bad_at_its_very_end_has_two_bad_tokens_if_it_has_two_tokens(count: int) -> None:
    answer = only(passages.answers([row(words(count, bad_at=count - 1))], READER, judge)).answer
    assert answer == (SAFE,) * (count - 2) + (UNSAFE,) * min(2, count)


def test_a_controversial_answer_starts_at_the_prefix_that_the_judge_no_longer_finds_safe() -> None:
    found = passages.answers([row(words(8, bad_at=3), CONTROVERSIAL)], READER, judge)
    assert only(found).answer == (SAFE,) * 3 + (CONTROVERSIAL,) * 5


def test_safe_answers_are_safe_at_every_token_whatever_the_judge_says() -> None:
    assert only(passages.answers([row(words(8, bad_at=3), SAFE)], READER, never_asked)).answer == (SAFE,) * 8


def test_a_prompt_is_learnt_at_the_token_that_ends_it() -> None:
    asked = TrainingRow((Turn("user", "Tell me."),), UNSAFE, (Category.JAILBREAK,), None, "a/b", "en")
    passage = only(passages.prompts([asked], READER))
    assert (passage.places, passage.levels) == (slice(1, 2), (UNSAFE,))


def test_a_splice_is_safe_before_the_bad_sentence_and_unsafe_a_few_tokens_into_it() -> None:
    rows = [row("All is well here.", SAFE), row("They did a bad thing to all of us there.")]
    bad = [one for one in passages.splices(rows, READER, judge, 4, Random(0)) if one.bad]
    assert len(bad) == 2
    for splice in bad:
        assert splice.bad == (5, 16)
        assert splice.answer == (SAFE,) * 5 + (None,) * 3 + (UNSAFE,) * 8
        assert splice.label is UNSAFE
        assert splice.categories == (Category.VIOLENT,)


def test_a_sentence_is_spliced_only_if_the_judge_agrees_with_its_label() -> None:
    rows = [row("All is well here.", SAFE), row("They did no harm to any of us there.")]
    assert {one.label for one in passages.splices(rows, READER, judge, 8, Random(0))} == {SAFE}


def test_batches_hold_every_sequence_once_within_the_limit_of_tokens() -> None:
    sequences = [[0] * length for length in (3, 50, 7, 7, 20, 1)]
    found = batches(sequences, 60)
    assert sorted(at for batch in found for at in batch) == list(range(6))
    assert all(len(batch) * max(len(sequences[at]) for at in batch) <= 60 for batch in found)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(json.loads((DEMO_STREAM_FOLDER / "config.json").read_text()))


def tensors(folder: Path) -> dict[str, dict[str, Any]]:
    with (folder / "model.safetensors").open("rb") as file:
        header: dict[str, dict[str, Any]] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def test_the_checkpoint_has_the_architecture_and_labels_of_the_real_ones(config: dict[str, Any]) -> None:
    assert config["architectures"] == ["Qwen3ForGuardModel"]
    assert "auto_map" not in config
    published = {name: value for name, value in config.items() if not name.endswith("_map")}
    assert Labels.of(config) == Labels.of(published)


def test_the_heads_have_the_names_and_shapes_of_the_real_checkpoints(config: dict[str, Any]) -> None:
    hidden, inner = config["hidden_size"], config["guard_inner_size"]
    found = {name: tuple(of["shape"]) for name, of in tensors(DEMO_STREAM_FOLDER).items() if "model." not in name}
    assert found == {
        "risk_level_category_pre.weight": (inner, hidden),
        "risk_level_category_layernorm.weight": (inner,),
        "risk_level_head.weight": (3, inner),
        "category_head.weight": (8, inner),
        "query_risk_level_category_pre.weight": (inner, hidden),
        "query_risk_level_category_layernorm.weight": (inner,),
        "query_risk_level_head.weight": (3, inner),
        "query_category_head.weight": (9, inner),
    }


def test_both_demo_guards_have_at_most_nine_million_parameters_in_bfloat16_and_20_mb() -> None:
    folders = (DEMO_FOLDER, DEMO_STREAM_FOLDER)
    found = [tensor for folder in folders for tensor in tensors(folder).values()]
    assert {tensor["dtype"] for tensor in found} == {"BF16"}
    assert sum(stop - start for start, stop in (tensor["data_offsets"] for tensor in found)) // 2 <= 9_000_000
    files = [path for folder in (*folders, DEMO_TOKENIZER) for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) < 20_000_000


def test_the_template_puts_an_empty_think_block_before_the_answer_and_leaves_the_answer_as_it_is() -> None:
    source = (DEMO_STREAM_FOLDER / "chat_template.jinja").read_text()
    template = jinja2.sandbox.ImmutableSandboxedEnvironment().from_string(source)
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello "},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": [{"type": "text", "text": "How are you?"}]},
        {"role": "assistant", "content": " Fine. "},
    ]
    assert template.render(messages=messages) == (
        "<|im_start|>user\n Hello<|im_end|>\n<|im_start|>assistant\n Hi!<|im_end|>\n"
        "<|im_start|>user\n How are you?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n Fine. <|im_end|>\n"
    )


def test_the_card_says_that_it_is_a_demonstration_and_what_to_run_instead() -> None:
    card = (DEMO_STREAM_FOLDER / "README.md").read_text()
    assert "a demonstration, not for production" in card
    assert "serve stream-0.6b" in card
