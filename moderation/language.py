"""Which language a text is in: by its script, by short profiles of letter pairs and words, and by the reader's setting.

No library, no model and no download: the profiles are `language_profiles`, made from lines of this repository.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from math import sqrt

from moderation.language_profiles import LANGUAGE_PROFILES

# The languages that are told apart, all of them languages of notices.
TOLD_APART = ("en", "zh", "es", "fr", "de", "pt", "it", "ru", "ja", "ko", "ar", "hi", "vi", "id", "tr")
# Levels of a profile; a pair or word that it does not hold is on this one, the least likely.
UNSEEN_LEVEL = 16

# Readers of these languages read another of ours.
_READS = {"ms": "id", "yue": "zh", "wuu": "zh"}
# More than a paragraph tells nothing new.
_LANGUAGE_SAMPLE = 400
SCRIPT_LETTERS = {
    "latin": r"[a-zA-Z\u00c0-\u02af\u1e00-\u1eff]",
    "cyrillic": r"[\u0400-\u052f]",
    "arabic": r"[\u0620-\u064a\u066e-\u06ff\u0750-\u077f]",
    "devanagari": r"[\u0900-\u097f]",
    "hangul": r"[\uac00-\ud7a3]",
    "kana": r"[\u3041-\u30ff]",
    "han": r"[\u3005\u3400-\u9fff]",
}
# One sign of these says as much as some Latin letters; and English names stand in texts of all of them.
_LETTERS_OF_A_SIGN = {"cyrillic": 2, "arabic": 2, "devanagari": 2, "hangul": 3, "kana": 3, "han": 4}
# Written in Chinese and never in Japanese; written in Japanese and never in Chinese.
_CHINESE_ONLY = "[这這们們么麼什吗嗎说說请請给給你您她怎呢吧啊谢话写读见问题时间东车长门马语难让认识电脑]"
_JAPANESE_ONLY = "[円駅気図団覚桜単帰働込畑択売読発変対戦経済検広価営児悪楽焼]"
_A_TO_Z = "abcdefghijklmnopqrstuvwxyz"
# The letters that a language writes; any other letter of its script speaks against it, by so many levels.
_ALPHABETS = {
    "en": _A_TO_Z,
    "es": _A_TO_Z + "áéíóúüñ",
    "fr": _A_TO_Z + "àâæçéèêëîïôœùûüÿ",
    "de": _A_TO_Z + "äöüßé",
    "pt": _A_TO_Z + "áâãàçéêíóôõúü",
    "it": _A_TO_Z + "àèéìíîòóùú",
    "id": _A_TO_Z + "é",
    "jv": _A_TO_Z + "éè",
    "sw": _A_TO_Z,
    "tl": _A_TO_Z + "ñ",
    "uz": _A_TO_Z,
    "tr": "abcçdefgğhıijklmnoöprsştuüvyzâîû",
    "ru": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "be": "абвгдеёжзійклмнопрстуўфхцчшыьэюя",
    "bg": "абвгдежзийклмнопрстуфхцчшщъьюя",
    "sr": "абвгдђѓежзѕијклљмнњопрстћќуфхцчџш",
    "ar": "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىي",
}
_STRANGE_LETTER = 24
# More people write the languages of notices than their neighbours; and English is the notice that most can read.
_PRIOR = 6
_ENGLISH_PRIOR = 18
# A text with more strange letters than a name brings is in a language without a profile.
_STRANGE_SHARE = 0.02
# So is one that is far from all profiles: the mean level of its pairs and words.
_FAR = 5
# Chance grows with the square root of a text's length. Scripts whose languages differ in their letters need less lead.
_LEADS = {"latin": 0.5}
_LEAD = 0.1
# A word or two lead by chance more easily than the root says.
_SHORT = 100
# Neither addresses nor code are in a language.
_NO_WORDS = re.compile(r"```.*?(?:```|$)|`[^`\n]*`|https?://\S+|\S+@\S+", re.DOTALL)
# `\w` lacks the vowel signs of Devanagari.
_LANGUAGE_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0900-\u0963'])*")
_ARABIC_VOWELS = re.compile(r"[\u064b-\u065f\u0670\u0640]")


class LanguageProfiles:
    """Profiles to compare texts with.

    Args:
        table: script -> language -> levels. A level is letter pairs without separators, `|`, words with spaces.
    """

    def __init__(self, table: Mapping[str, Mapping[str, tuple[str, ...]]]) -> None:
        self._languages = {script: tuple(profiles) for script, profiles in table.items()}
        self._points: dict[str, dict[str, list[tuple[str, int]]]] = {script: {} for script in table}
        for script, profiles in table.items():
            for language, levels in profiles.items():
                for level, packed in enumerate(levels):
                    pairs, _, words = packed.partition("|")
                    features = [pairs[i : i + 2] for i in range(0, len(pairs), 2)]
                    features += [f" {word} " for word in words.split()]
                    for feature in features:
                        self._points[script].setdefault(feature, []).append((language, UNSEEN_LEVEL - level))

    def nearest(self, script: str, text: str) -> str | None:
        """The language, with notices or without, whose profile is nearest by more than chance; None if none is."""
        known = self._points.get(script, {})
        seen = [known[feature] for feature in language_features(text) if feature in known]
        if not seen:
            return None
        points = {language: _PRIOR * (language in TOLD_APART) for language in self._languages[script]}
        if "en" in points:
            points["en"] = _ENGLISH_PRIOR
        for found in seen:
            for language, more in found:
                points[language] += more
        letters = Counter(re.findall(SCRIPT_LETTERS[script], text.lower()))
        strange = {
            language: sum(count for letter, count in letters.items() if letter not in own)
            for language, own in _ALPHABETS.items()
            if language in points
        }
        for language, count in strange.items():
            points[language] -= _STRANGE_LETTER * count
        best = max(points, key=points.__getitem__)
        lead = points[best] - max(other for language, other in points.items() if language != best)
        sure = (
            lead >= _LEADS.get(script, _LEAD) * (sqrt(len(seen)) + _SHORT / len(seen))
            and points[best] >= (UNSEEN_LEVEL - _FAR) * len(seen)
            and strange.get(best, 0) <= _STRANGE_SHARE * letters.total()
        )
        return best if sure else None


def language_features(text: str) -> list[str]:
    """The words of a text, each between spaces, and the pairs of letters and spaces in them."""
    found = []
    for word in _LANGUAGE_WORD.findall(_ARABIC_VOWELS.sub("", text.lower().replace("’", "'").replace("\u0307", ""))):
        spaced = f" {word} "
        found += [spaced[i : i + 2] for i in range(len(spaced) - 1)]
        found.append(spaced)
    return found


def language_of(text: str, told: str | None = None, profiles: LanguageProfiles | None = None) -> str:
    """The language of `text`, one of `TOLD_APART`; where it cannot be told, the reader's; else English.

    Args:
        told: the language that the reader set, such as `de-DE`, if it is known.
        profiles: others than this project's.
    """
    own = _own_language(told)
    sample = unicodedata.normalize("NFKC", _NO_WORDS.sub(" ", text[:_LANGUAGE_SAMPLE]))[:_LANGUAGE_SAMPLE]
    signs = {script: len(re.findall(pattern, sample)) for script, pattern in SCRIPT_LETTERS.items()}
    weights = {script: count * _LETTERS_OF_A_SIGN.get(script, 1) for script, count in signs.items()}
    weights["han"] += weights.pop("kana")
    script = max(weights, key=weights.__getitem__)
    if sum(map(str.isalpha, sample)) - sum(signs.values()) > weights[script]:
        # Mostly in a script of which no language is ours.
        return own or "en"
    if script == "hangul" and signs["hangul"]:
        return "ko"
    if script == "han" and weights["han"]:
        return _chinese_or_japanese(sample, signs["kana"], signs["han"], own)
    nearest = (profiles or _project_profiles()).nearest(script, sample)
    return nearest if nearest in TOLD_APART else own or "en"


def _chinese_or_japanese(sample: str, kana: int, han: int, own: str | None) -> str:
    chinese = len(re.findall(_CHINESE_ONLY, sample))
    # Japanese has kana in each sentence; a Chinese question about a Japanese word has some as well.
    if 10 * kana >= kana + han:
        return "zh" if 4 * chinese > kana else "ja"
    if not chinese and (own == "ja" or re.search(_JAPANESE_ONLY, sample)):
        return "ja"
    return "zh"


def _own_language(told: str | None) -> str | None:
    """A setting such as `pt-BR` as one of our languages."""
    language = re.split("[-_]", told.strip().lower(), maxsplit=1)[0] if told else ""
    language = _READS.get(language, language)
    return language if language in TOLD_APART else None


@cache
def _project_profiles() -> LanguageProfiles:
    return LanguageProfiles(LANGUAGE_PROFILES)
