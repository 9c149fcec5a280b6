"""The target replies of the demo guard: Qwen3Guard-Gen's grammar, and the rule that detects refusals.

Imports neither torch nor transformers.
"""

import re
from collections.abc import Sequence

from moderation.verdict import Category, Severity

# Openings of refusals, in the languages of the training data. An apology or "as an AI" alone is not enough: words for
# being unable or unwilling to do it must follow.
_NOT = r"(?:can['’]?t|can ?not|could ?n['’]t|unable|not able|won['’]t|will not|don['’]t|do not)"
_DO = (
    r"(?:help|assist|provide|answer|comply|fulfill?|support|give|create|generate|write|offer|share|discuss|engage"
    r"|participate)"
)
_ENGLISH = re.compile(
    rf"\b(?:sorry|afraid|apologi[sz]e)\b[^.!?\n]{{0,60}}\b{_NOT}\b"
    rf"|\b(?:i|we)(?:['’]?m| am| are)?(?: still| also| therefore)? {_NOT} (?:to )?{_DO}"
    rf"|\b(?:i|we) (?:must decline|refuse to|don['’]t feel comfortable)"
    # "As an AI, I don't have a body" is no refusal.
    rf"|\bas an? (?:\w+ ){{0,2}}(?:ai|language model|assistant)\b(?![^.!?\n]{{0,20}}\b(?:don['’]t|do not) have\b)"
    rf"[^.!?\n]{{0,80}}\b(?:{_NOT}|must emphasi[sz]e|must decline)\b"
    r"|\bit (?:is|would be) (?:not|never) (?:appropriate|ethical|acceptable)|\bit is (?:illegal|unethical) to\b",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"(?:抱歉|对不起|很遗憾|(?:助手|模型|AI|人工智能),?)[^。!?！？\n]{0,40}(?:不能|无法|不会|不可以|不便|不应)"
    r"|我(?:不能|无法|不会|拒绝)(?:[为向给对][您你])?(?:回答|提供|协助|帮助|支持|参与|满足|生成|编写|讨论|制作|完成)"
    r"|(?:无法|不能)(?:[为向给][您你])?(?:回答|提供|协助|帮助|帮[您你])"
)
_OTHERS = re.compile(
    r"\bno puedo (?:ayudar|responder|proporcionar)|\blo siento, (?:pero )?no\b"
    r"|\bne peux pas (?:vous |t['’])?(?:aider|répondre|fournir)"
    r"|\bkann (?:ich )?(?:dir |ihnen )?(?:dabei |damit )?(?:leider )?nicht (?:helfen|beantworten)"
    r"|\bnão posso (?:ajudar|responder)|\bnon posso (?:aiutar|rispondere)|\bне могу (?:с этим )?(?:помочь|ответить)"
    r"|お手伝いできません|お答えできません|도와드릴 수 없|답변(?:해|을)? ?드릴 수 없",
    re.IGNORECASE,
)
# A refusal is at the start of an answer. Later, the same words mostly belong to a story or a quotation.
_OPENING_CHARS = 240


def is_refusal(answer: str) -> bool:
    """Whether `answer` begins with a refusal. The error rate of this rule is in the model card."""
    opening = answer[:_OPENING_CHARS]
    return any(rule.search(opening) for rule in (_ENGLISH, _CHINESE, _OTHERS))


def reply_text(severity: Severity, categories: Sequence[Category] | None, refusal: bool | None) -> str:
    """The target reply, in the grammar that `moderation.verdict.parse_reply` reads.

    Args:
        severity: of the judged turn.
        categories: in any order; None if they are unknown: the reply then ends after the severity.
        refusal: None for a prompt.
    """
    text = f"Safety: {severity}"
    if categories is None:
        return text
    names = [category for category in Category if category in categories]
    text += f"\nCategories: {', '.join(names) or 'None'}"
    return text if refusal is None else f"{text}\nRefusal: {'Yes' if refusal else 'No'}"
