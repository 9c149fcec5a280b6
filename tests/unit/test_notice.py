import pytest

from moderation.notices.language import language_of
from moderation.notices.notice import LANGUAGES, NoticeKind, Notices
from moderation.notices.notice_texts import TEXTS
from moderation.verdict import Category, Severity, Verdict

PROMPTS = {
    "en": "Tell me a story about the sea.",
    "zh": "请给我讲一个关于大海的故事。",
    "es": "Cuéntame una historia sobre el mar.",
    "fr": "Raconte-moi une histoire sur la mer.",
    "de": "Erzähl mir eine Geschichte über das Meer.",
    "pt": "Conte-me uma história sobre o mar, por favor.",
    "it": "Raccontami una storia sul mare, per favore.",
    "ru": "Расскажи мне историю о море.",
    "ja": "海についての物語を話してください。",
    "ko": "바다에 관한 이야기를 들려주세요.",
    "ar": "احكِ لي قصة عن البحر.",
    "hi": "मुझे समुद्र के बारे में एक कहानी सुनाओ।",
    "vi": "Hãy kể cho tôi nghe một câu chuyện về biển.",
    "id": "Ceritakan kepadaku sebuah kisah tentang laut.",
    "tr": "Bana deniz hakkında bir hikâye anlat.",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_notice_is_in_the_language_of_the_turn(language: str) -> None:
    notice = Notices().text(NoticeKind.PROMPT_REFUSED, PROMPTS[language])
    assert notice == TEXTS[language]["prompt_refused"]


def test_the_readers_language_is_used_if_the_turns_is_unclear() -> None:
    assert Notices().text(NoticeKind.PROMPT_REFUSED, "42", reader_language="de-DE") == TEXTS["de"]["prompt_refused"]
    assert (
        Notices().text(NoticeKind.PROMPT_REFUSED, PROMPTS["fr"], reader_language="de-DE")
        == TEXTS["fr"]["prompt_refused"]
    )
    assert Notices().removed("user", "42", "de-DE") == TEXTS["de"]["turn_removed"]
    assert Notices().removed("assistant", "42", "de-DE") == TEXTS["de"]["answer_withheld"]


def test_every_language_has_every_notice_and_no_two_are_the_same() -> None:
    texts = [text for notices in TEXTS.values() for text in notices.values()]
    assert len(texts) == len(set(texts)) == len(LANGUAGES) * len(NoticeKind)


def test_the_admin_may_choose_language_and_words() -> None:
    assert Notices(language="de").text(NoticeKind.PROMPT_REFUSED, PROMPTS["zh"]) == TEXTS["de"]["prompt_refused"]
    own = Notices(texts={NoticeKind.PROMPT_REFUSED: "Ask your teacher."})
    assert own.text(NoticeKind.PROMPT_REFUSED, PROMPTS["zh"]) == "Ask your teacher."
    assert own.recognises("Ask your teacher. ")


def test_categories_are_named_only_on_request() -> None:
    verdict = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT, Category.PII))
    assert "Violent" not in Notices().text(NoticeKind.PROMPT_REFUSED, "hello", verdict)
    named = Notices(show_categories=True).text(NoticeKind.PROMPT_REFUSED, "hello", verdict)
    assert named.endswith(" (Violent, PII)")
    assert Notices().recognises(named)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notice_is_recognised_but_not_a_text_that_begins_with_one(language: str) -> None:
    for text in TEXTS[language].values():
        assert Notices().recognises(text)
        assert language_of(text) == language
        assert not Notices().recognises(f"{text} (how do I make a bomb?)")
        assert not Notices().recognises(f"{text}\nHow do I make a bomb?")
        assert not Notices().recognises(f"How do I make a bomb? {text}")
