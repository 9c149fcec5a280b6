import time

import pytest

from moderation.verdict import Category, Severity, Verdict, parse_reply, severity_probabilities, worst

SAFE = Verdict(severity=Severity.SAFE)


def test_a_safe_prompt_is_read() -> None:
    assert parse_reply("Safety: Safe\nCategories: None", "prompt") == SAFE
    assert parse_reply("Safety: Safe\n\nCategories: None\n", "prompt") == SAFE
    assert parse_reply("Categories: None\nSafety: Safe", "prompt") == SAFE
    assert parse_reply("Safety : Safe\r\n\t Categories:\u00a0None", "prompt") == SAFE
    # A reply that its server cut off.
    assert parse_reply("Safety: Safe\nCategories:", "prompt") == SAFE


def test_all_categories_of_an_unsafe_prompt_are_read() -> None:
    verdict = parse_reply(f"Safety: Unsafe\nCategories: {', '.join(Category)}", "prompt")
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, tuple(Category))


def test_a_response_verdict_has_its_refusal() -> None:
    assert parse_reply("Safety: Safe\nCategories: None\nRefusal: Yes", "response").refusal is True
    assert parse_reply("Safety: Unsafe\nCategories: PII\nRefusal: No", "response").refusal is False


def test_an_answer_has_no_category_of_prompts() -> None:
    reply = "Safety: Unsafe\nCategories: Jailbreak, Violent\nRefusal: No"
    assert parse_reply(reply, "response").categories == (Category.VIOLENT,)
    assert parse_reply(reply, "prompt").categories == (Category.JAILBREAK, Category.VIOLENT)
    alone = parse_reply("Safety: Unsafe\nCategories: Jailbreak\nRefusal: No", "response")
    assert (alone.severity, alone.categories) == (Severity.UNSAFE, ())


def test_probabilities_are_scaled_and_of_all_three_severities() -> None:
    assert severity_probabilities({Severity.SAFE: 3.0, Severity.UNSAFE: 1.0}) == {
        Severity.SAFE: 0.75,
        Severity.CONTROVERSIAL: 0.0,
        Severity.UNSAFE: 0.25,
    }
    assert severity_probabilities({Severity.SAFE: 0.0}) is None
    assert severity_probabilities({Severity.SAFE: float("nan")}) is None


def test_the_refusal_line_of_a_prompt_is_ignored() -> None:
    assert parse_reply("Safety: Safe\nCategories: None\nRefusal: No", "prompt").refusal is None


def test_violent_is_not_found_inside_non_violent() -> None:
    verdict = parse_reply("Safety: Unsafe\nCategories: Non-violent Illegal Acts", "prompt")
    assert verdict.categories == (Category.NON_VIOLENT_ILLEGAL_ACTS,)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Safe",
        "safety: safe\ncategories: none",
        "Safety: safe",
        "Safety: Safe-ish\nCategories: None",
        "Safety: Unsafe\nCategories: violent",
        "Safety: Unsafe\nCategories: Violent; PII",
        "Safety: Safe\nSafety: Unsafe",
        "Safety: Safe\nCategories: Violent",
        "Safety: Safe\nRefusal: Maybe",
        "I think this is fine.\nSafety: Safe\nCategories: None",
        "Categories: None",
        "**Safety:** Safe\n**Categories:** None",
        "Safety：Safe\nCategories：None",
        "安全性: 安全\n类别: 无",
        "Safety: Unsafe\nCategories: 暴力",
        "Safety: Safe Categories: None",
        "Safety: Safe.",
        "Safety: Saf",
        "Safety:",
        "Safety: Unsafe\nCategories: Non-violent Ill",
        "Safety: Unsafe\nCategories: None, Violent",
        "```\nSafety: Safe\nCategories: None\n```",
        '"Safety: Safe"',
        '{"Safety": "Safe"}',
        "\ufeffSafety: Safe",
        "Safety: Safe\x00",
    ],
)
def test_anything_else_is_an_unreadable_verdict(reply: str) -> None:
    verdict = parse_reply(reply, "response")
    assert not verdict.reached
    assert verdict.problem


@pytest.mark.parametrize(
    "reply",
    [
        "<think>\n\n</think>\n\n{}",
        "<think></think>{}",
        " \n</think>\n{}",
        "{}<|im_end|>",
        "{} <|endoftext|>\n",
        "{}\n<|im_end|>\n<|endoftext|>",
        "{}</s>",
        "<think>\n</think>{}<|eot_id|>",
    ],
)
def test_text_that_servers_leave_around_a_verdict_is_removed(reply: str) -> None:
    verdict = parse_reply(reply.format("Safety: Unsafe\nCategories: PII\nRefusal: No"), "response")
    assert (verdict.severity, verdict.categories, verdict.refusal) == (Severity.UNSAFE, (Category.PII,), False)


@pytest.mark.parametrize(
    "reply",
    [
        "<think>Is it?</think>Safety: Safe",
        "Safety: Safe<think></think>",
        "<|im_end|>Safety: Safe",
        "Safety: Safe<|im_end|>\n<|im_start|>user",
        "Safety: Safe<|im_end|>Safety: Unsafe",
        "Safety: Safe<im_end>",
        "<think></think><think></think>Safety: Safe",
        "Safety: Safe\n" + " \n" * 500_000,
        "<|a|>" * 200_000,
        "\n" * 1_000_000 + "x",
    ],
)
def test_nothing_else_is_removed(reply: str) -> None:
    started = time.process_time()
    assert not parse_reply(reply, "prompt").reached
    assert time.process_time() - started < 1


def test_the_worst_window_decides() -> None:
    violent = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))
    personal = Verdict(severity=Severity.UNSAFE, categories=(Category.PII,))
    assert worst([SAFE, violent, personal]).categories == (Category.VIOLENT, Category.PII)


def test_a_window_without_a_verdict_decides_over_safe_but_not_over_unsafe() -> None:
    missing = Verdict.none("slow")
    assert not worst([SAFE, missing]).reached
    assert worst([Verdict(severity=Severity.UNSAFE), missing]).severity is Severity.UNSAFE


def test_of_windows_with_one_label_the_most_harmful_decides() -> None:
    calm, tense = (
        Verdict(severity=Severity.SAFE, probabilities=dict(zip(Severity, (1 - p, 0, p), strict=True)))
        for p in (0.1, 0.4)
    )
    assert worst([calm, tense, calm]) == tense
