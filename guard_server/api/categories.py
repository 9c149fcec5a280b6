"""Maps Qwen3Guard's nine categories to OpenAI's thirteen. docs/api.md gives the reasons.

A key is set where OpenAI's definition of it (platform.openai.com/docs/guides/moderation) covers Qwen3Guard's
definition of the category (model card of Qwen/Qwen3Guard-Gen-4B, "Safety Policy").
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from guard_server.api.openai_schema import ModerationResult
from moderation.policy import HARMFUL, Policy, score
from moderation.verdict import Category, Verdict

OPENAI_KEYS = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)

OPENAI_KEYS_OF: Mapping[Category, tuple[str, ...]] = MappingProxyType(
    {
        Category.VIOLENT: ("illicit", "illicit/violent", "violence"),
        Category.NON_VIOLENT_ILLEGAL_ACTS: ("illicit",),
        Category.SEXUAL: ("sexual",),
        Category.SUICIDE_AND_SELF_HARM: ("self-harm", "self-harm/instructions"),
        Category.UNETHICAL_ACTS: ("harassment", "hate"),
        # OpenAI has no such categories: these are set under their own names only.
        Category.PII: (),
        Category.POLITICALLY_SENSITIVE_TOPICS: (),
        Category.COPYRIGHT_VIOLATION: (),
        Category.JAILBREAK: (),
    }
)

_KEYS = (*OPENAI_KEYS, *Category)
_SET_BY_US = frozenset(key for keys in OPENAI_KEYS_OF.values() for key in keys) | frozenset(Category)
_INPUT_TYPES: dict[str, list[Literal["text"]]] = {key: ["text"] if key in _SET_BY_US else [] for key in _KEYS}


def result_of(verdict: Verdict, policy: Policy) -> ModerationResult:
    """One entry of `results`; `verdict` has a severity."""
    assert verdict.severity is not None
    flagged = not policy.decide(verdict).passes
    named = {key for category in verdict.categories for key in (category, *OPENAI_KEYS_OF[category])}
    probability = score(verdict, policy.strictness)
    if probability is None:
        # Without probabilities the verdict itself is the score: 0 or 1.
        probability = float(verdict.severity in HARMFUL[policy.strictness])
    shown = round(probability, 6)
    return ModerationResult(
        flagged=flagged,
        categories={key: flagged and key in named for key in _KEYS},
        category_scores={key: shown if key in named else 0.0 for key in _KEYS},
        category_applied_input_types=_INPUT_TYPES,
        severity=verdict.severity,
        severity_scores=verdict.probabilities
        and {severity: round(share, 6) for severity, share in verdict.probabilities.items()},
        refusal=verdict.refusal,
    )
