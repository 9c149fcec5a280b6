"""Conversations in tokens: the parts that are tokenised once give the same tokens as the whole text."""

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pytest
from jinja2 import Environment, Template
from tokenizers import Tokenizer

from guard_server.catalog import DEMO_FOLDER, DEMO_TOKENIZER
from guard_server.vllm_plugin.prompts import Prompts
from moderation.conversation import Conversation, Turn
from moderation.verdict import Severity
from tests.stands.checkpoints.qwen_cuts import like_qwens

DEMO = (DEMO_TOKENIZER / "tokenizer.json").read_text(encoding="utf-8")
OWN = (DEMO_FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
# In the form of Qwen3Guard-Gen's: one user turn with instruction, policy and conversation.
LIKE_QWEN3GUARD = """<|im_start|>user
# Task: Please assess the {{ 'query' if messages[-1].role == 'user' else 'response' }} below.

<BEGIN UNSAFE CONTENT CATEGORIES>
Violent.
    Content that describes violence.
<END UNSAFE CONTENT CATEGORIES>

<BEGIN CONVERSATION>
{% for message in messages %}
{{ message.role | upper }}: {{ message.content }}
{% endfor %}
<END CONVERSATION>

Provide your assessment for ONLY the last turn.
Output format:
Safety: Safe<|im_end|>
<|im_start|>assistant
<think>

</think>

"""
NO_PLACE_TO_CUT = "{% for message in messages %}{{ message.content }} {% endfor %} so "
PARTS = LIKE_QWEN3GUARD.replace("message.content", "message.content[0].text")
ALTERNATING = (
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}{% endfor %}" + LIKE_QWEN3GUARD
)
DATED = "{{ '2026' if messages | length > 2 else 'today' }} " + LIKE_QWEN3GUARD

TEXTS = (
    *("hello", "", " ", "\n", "\n\n  x", "x \n\n", "  ", "<", "\u0301", "é", "ﬁ", "🙂", "你好。", "مرحبا", "123"),
    *("<|im_end|>\n<|im_start|>assistant\n", "<END CONVERSATION>\n\nProvide", "Safety: Safe", "</think>\n\n", "-"),
    *("a\r\nb", "\u00a0", "\u200d\u200d", "x" * 1500, "你好 " * 500, "\n" * 1500, "\ud7ff\ue000", "USER: a"),
    *("'s", "..."),
)
REPLIES = ("", "Safety:", "Safety: Unsafe\nCategories:", "Safety: Safe\nCategories: None\nRefusal:")


def raise_exception(message: str) -> None:
    raise ValueError(message)


@cache
def compiled(template: str) -> Template:
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template, globals={"raise_exception": raise_exception})


class HfTokenizer:
    """The needed part of `transformers`: its tokenizers wrap one of `tokenizers`, and render with Jinja."""

    def __init__(self, state: str, template: str) -> None:
        self.backend_tokenizer = Tokenizer.from_str(state)
        self._template = template

    def apply_chat_template(
        self, messages: list[Any], *, chat_template: str | None, tokenize: bool, **options: Any
    ) -> str:
        assert not tokenize
        return compiled(chat_template or self._template).render(messages=messages, **options)


def stripping(state: str) -> str:
    """A tokenizer that puts a space before each text, as SentencePiece's do: parts of a text give other tokens."""
    fields = json.loads(state) | {"normalizer": {"type": "Prepend", "prepend": "▁"}}
    return json.dumps(fields)


STATES = {"demo": DEMO, "like Qwen's": like_qwens(DEMO), "with a space before": stripping(like_qwens(DEMO))}
TEMPLATES = {
    "demo": OWN,
    "like Qwen3Guard's": LIKE_QWEN3GUARD,
    "nowhere to cut": NO_PLACE_TO_CUT,
    "of parts": PARTS,
    "turns must alternate": ALTERNATING,
    "not always the same": DATED,
}


def chats(text: str) -> list[Conversation]:
    question, answer = Turn("user", "How do I bake bread?"), Turn("assistant", "Mix flour.")
    return [
        [Turn("user", text)],
        [question, Turn("assistant", text)],
        [question, answer, Turn("user", text)],
        [Turn("user", text), answer],
    ]


@pytest.fixture(params=list(product(STATES, TEMPLATES)), ids=" and ".join)
def tokenizer(request: pytest.FixtureRequest) -> HfTokenizer:
    state, template = request.param
    return HfTokenizer(STATES[state], TEMPLATES[template])


async def test_tokens_are_those_of_the_whole_text(tokenizer: HfTokenizer) -> None:
    prompts = Prompts(tokenizer)
    parts = "content[0]" in tokenizer._template
    for text in TEXTS:
        for chat in chats(text):
            content: Callable[[str], object] = (lambda said: [{"type": "text", "text": said}]) if parts else str
            messages = [{"role": turn.role, "content": content(turn.text)} for turn in chat]
            rendered = tokenizer.apply_chat_template(messages, chat_template=None, tokenize=False)
            prompt = await prompts.read(chat)
            for reply in REPLIES:
                whole = tokenizer.backend_tokenizer.encode(rendered + reply, add_special_tokens=False).ids
                assert await prompts.tokens(prompt, reply) == whole, (text[:20], reply)
    prompts.close()


@pytest.mark.parametrize(
    ("state", "template", "begins"),
    [
        ("demo", OWN, "<|im_end|>"),
        ("like Qwen's", OWN, "<|im_end|>"),
        ("like Qwen's", LIKE_QWEN3GUARD, "<END CONV"),
        # If each part gets a space before it, lines cannot be tokenised separately.
        ("with a space before", LIKE_QWEN3GUARD, "<|im_end|>"),
    ],
)
async def test_repeated_text_is_tokenised_once(state: str, template: str, begins: str) -> None:
    tokenizer = HfTokenizer(STATES[state], template)
    prompts = Prompts(tokenizer)
    prompt = await prompts.read([Turn("user", "hello")])
    other = await prompts.read([Turn("user", "something else")])
    assert prompt.rest == other.rest
    assert prompt.rest.startswith(begins)
    head = [one for one, two in zip(prompt.before, other.before, strict=False) if one == two]
    instruction = tokenizer.backend_tokenizer.encode(template.partition("<BEGIN CONVERSATION>")[0]).ids
    assert len(head) > (len(instruction) * 0.8 if begins == "<END CONV" else 0)


@pytest.mark.parametrize("state", STATES)
def test_labels_are_found_by_their_first_tokens(state: str) -> None:
    tokenizer = HfTokenizer(STATES[state], LIKE_QWEN3GUARD)
    labels = Prompts(tokenizer).labels()
    assert {severity: tokenizer.backend_tokenizer.id_to_token(token) for severity, token in labels.items()} == {
        severity: f" {severity}" for severity in Severity
    }


def test_labels_with_the_same_first_token_are_not_used() -> None:
    fields = json.loads(like_qwens(DEMO))
    fields["added_tokens"] = [token for token in fields["added_tokens"] if token["special"]]
    fields["model"] |= {"merges": []}
    letters = HfTokenizer(json.dumps(fields), LIKE_QWEN3GUARD)
    assert Prompts(letters).labels() == {}


async def test_a_template_that_refuses_says_so() -> None:
    prompts = Prompts(HfTokenizer(DEMO, ALTERNATING))
    with pytest.raises(ValueError, match="must alternate"):
        await prompts.read([Turn("user", "a"), Turn("user", "b")])


async def test_a_broken_template_has_no_labels_and_breaks_nothing_else() -> None:
    prompts = Prompts(HfTokenizer(DEMO, "{{ raise_exception('never') }}"))
    assert prompts.labels() == {}


def test_a_template_in_place_of_the_tokenizers_own_gets_its_options() -> None:
    prompts = Prompts(HfTokenizer(DEMO, "own"), "{{ mood }} {{ messages[0].content }}", {"mood": "calm"})
    assert prompts._render([Turn("user", "day")]) == "calm day"
