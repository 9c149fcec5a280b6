"""The supported data sets on the hub, and the meaning of their columns.

Sources: the data sets' cards; for Qwen3GuardTest the code in `eval/` of github.com/QwenLM/Qwen3Guard; for OpenAI's set
"A Holistic Approach to Undesired Content Detection". In Aegis 1.0, the majority of up to five annotators decides. Its
"Needs Caution" is Controversial here: one of NVIDIA's own guards treats it as safe, the other as unsafe. A label that
is null (WildGuard's annotators did not agree, or there is no answer) is unknown, and rows without any label are not
judged.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from guard_server.evaluation.data.hub_categories import AEGIS, BEAVERTAILS, SAFE_RLHF, WILD_GUARD, matched
from guard_server.evaluation.data.rows import Row
from moderation.conversation import Turn
from moderation.verdict import Category, Severity

Record = Mapping[str, Any]
_Meaning = TypeVar("_Meaning")
_SAFE, _CONTROVERSIAL, _UNSAFE = Severity
_NAMES = {str(severity): severity for severity in Severity}
_SAFE_OR_NOT = {"safe": _SAFE, "unsafe": _UNSAFE}
_HARMFUL_OR_NOT = {"unharmful": _SAFE, "harmful": _UNSAFE}
_REFUSAL_OR_NOT = {"refusal": True, "compliance": False}
_OPENAI_LABELS = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")
_ANNOTATORS = tuple(f"labels_{number}" for number in range(5))
# Aegis 2.0 has this text in place of prompts that must not be redistributed.
_REDACTED = "REDACTED"


def _nothing(record: Record) -> None:
    return None


def _unknown(record: Record) -> frozenset[Category]:
    return frozenset()


def _unmarked(record: Record) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True)
class View:
    """How to turn the records of one split into rows. A split may have several views."""

    split: str
    conversation: Callable[[Record], tuple[Turn, ...]]
    """Empty if the record has none."""
    label: Callable[[Record], Severity | None] = _nothing
    part: str = ""
    """Distinguishes the rows of this view from those of other views: their set is named `id:part`."""
    categories: Callable[[Record], frozenset[Category]] = _unknown
    """Called for harmful rows only."""
    refusal: Callable[[Record], bool | None] = _nothing
    sentence: Callable[[Record], tuple[int, ...]] = _unmarked
    """The tokens of the first harmful sentence."""

    def row(self, name: str, record: Record) -> Row | None:
        """None if the record has no such conversation, or no label for it."""
        conversation = self.conversation(record)
        label, refusal = self.label(record), self.refusal(record)
        if not conversation or (label is None and refusal is None):
            return None
        return Row(
            set=f"{name}:{self.part}" if self.part else name,
            split=self.split,
            lang="en",
            conversation=conversation,
            label=label,
            categories=self.categories(record) if label is _UNSAFE else frozenset(),
            refusal=refusal,
            sentence=self.sentence(record),
        )


@dataclass(frozen=True)
class HubSet:
    """One data set."""

    views: tuple[View, ...]
    config: str | None = None


def _messages(record: Record) -> tuple[Turn, ...]:
    return tuple(Turn(message["role"], message["content"]) for message in record["message"])


def _sentence(record: Record) -> tuple[int, ...]:
    """`input_ids` is the whole conversation in the chat template. The indices refer to it; the end is inclusive."""
    ids, start, end = (record.get(name) for name in ("input_ids", "unsafe_start_index", "unsafe_end_index"))
    return () if ids is None or start is None or end is None else tuple(ids[start : end + 1])


def _prompt(column: str) -> Callable[[Record], tuple[Turn, ...]]:
    return lambda record: () if record[column] == _REDACTED else (Turn("user", record[column]),)


def _answer(column: str = "response") -> Callable[[Record], tuple[Turn, ...]]:
    def conversation(record: Record) -> tuple[Turn, ...]:
        prompt = _prompt("prompt")(record)
        return (*prompt, Turn("assistant", record[column])) if prompt and record[column] else ()

    return conversation


def _meaning(column: str, meanings: Mapping[Any, _Meaning]) -> Callable[[Record], _Meaning | None]:
    """Reads a column. An unknown value raises `KeyError`: it is another data set, or a new version."""
    return lambda record: None if record[column] in (None, "") else meanings[record[column]]


def _harmless_where(column: str) -> Callable[[Record], Severity | None]:
    return _meaning(column, {True: _SAFE, False: _UNSAFE})


def _openai(record: Record) -> Severity:
    # A missing label or null counts as "not flagged".
    return _UNSAFE if any(record.get(label) == 1 for label in _OPENAI_LABELS) else _SAFE


def _user_message(record: Record) -> tuple[Turn, ...]:
    """Only messages of users. Other records are whole dialogues as one text with one label."""
    return (Turn("user", record["text"]),) if record["text_type"] == "user_message" else ()


def _majority(record: Record) -> Severity | None:
    """The severity with most votes. In a tie, the more harmful one wins."""
    severities = {"Safe": _SAFE, "Needs Caution": _CONTROVERSIAL}
    votes = Counter(severities.get(name, _UNSAFE) for column in _ANNOTATORS if (name := record[column]))
    return max(votes, key=lambda severity: (votes[severity], list(Severity).index(severity)), default=None)


def _flags(column: str, matches: Mapping[str, Category]) -> Callable[[Record], frozenset[Category]]:
    return lambda record: matched((name for name, flag in record[column].items() if flag), matches)


def _aegis_prompt(record: Record) -> frozenset[Category]:
    """The categories are those of the whole dialogue, so they are the prompt's own only if the answer is not unsafe."""
    names: Iterable[str] = (record["violated_categories"] or "").split(",")
    own = record["response_label"] != "unsafe"
    return matched((name.strip() for name in names if name.strip()), AEGIS) if own else frozenset()


def _wild_guard(record: Record) -> frozenset[Category]:
    """Unknown for adversarial prompts: the data does not show which of them are jailbreaks in Qwen3Guard's sense."""
    return frozenset() if record["adversarial"] else matched([record["subcategory"]], WILD_GUARD)


def _safe_rlhf(number: int) -> View:
    return View(
        "test",
        _answer(f"response_{number}"),
        _harmless_where(f"is_response_{number}_safe"),
        categories=_flags(f"response_{number}_harm_category", SAFE_RLHF),
    )


SETS: dict[str, HubSet] = {
    "Qwen/Qwen3GuardTest": HubSet(
        tuple(
            View(split, _messages, _meaning("label", _NAMES), part=split, sentence=_sentence)
            for split in ("thinking", "thinking_loc", "response_loc")
        )
    ),
    "lmsys/toxic-chat": HubSet(
        (View("test", _prompt("user_input"), _meaning("toxicity", {0: _SAFE, 1: _UNSAFE})),), config="toxicchat0124"
    ),
    "walledai/XSTest": HubSet((View("test", _prompt("prompt"), _meaning("label", _SAFE_OR_NOT)),)),
    "allenai/xstest-response": HubSet(
        (
            View("response_harmfulness", _answer(), _meaning("label", _HARMFUL_OR_NOT)),
            View("response_refusal", _answer(), part="refusal", refusal=_meaning("label", _REFUSAL_OR_NOT)),
        )
    ),
    "allenai/wildguardmix": HubSet(
        (
            View(
                "test",
                _prompt("prompt"),
                _meaning("prompt_harm_label", _HARMFUL_OR_NOT),
                part="prompts",
                categories=_wild_guard,
            ),
            View(
                "test",
                _answer(),
                _meaning("response_harm_label", _HARMFUL_OR_NOT),
                part="responses",
                refusal=_meaning("response_refusal_label", _REFUSAL_OR_NOT),
            ),
        ),
        config="wildguardtest",
    ),
    "PKU-Alignment/BeaverTails": HubSet(
        (View("30k_test", _answer(), _harmless_where("is_safe"), categories=_flags("category", BEAVERTAILS)),)
    ),
    "PKU-Alignment/PKU-SafeRLHF": HubSet((_safe_rlhf(0), _safe_rlhf(1))),
    "nvidia/Aegis-AI-Content-Safety-Dataset-1.0": HubSet((View("test", _user_message, _majority),)),
    "nvidia/Aegis-AI-Content-Safety-Dataset-2.0": HubSet(
        (
            View(
                "test",
                _prompt("prompt"),
                _meaning("prompt_label", _SAFE_OR_NOT),
                part="prompts",
                categories=_aegis_prompt,
            ),
            View("test", _answer(), _meaning("response_label", _SAFE_OR_NOT), part="responses"),
        )
    ),
    "mmathys/openai-moderation-api-evaluation": HubSet((View("train", _prompt("prompt"), _openai),)),
}
