"""Detects the language of a text: by its script, by small profiles of letter pairs and words, by the reader's setting.

No library, no model and no download: the profiles in `language_profiles` are generated from lines of this repository.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from math import sqrt

from moderation.notices.language_profiles import LANGUAGE_PROFILES

# The languages that notices are written in.
NOTICE_LANGUAGES = ("en", "zh", "es", "fr", "de", "pt", "it", "ru", "ja", "ko", "ar", "hi", "vi", "id", "tr")
# The number of levels in a profile. A pair or word that is not in the profile has this level, the least likely one.
UNSEEN_LEVEL = 16

# Readers of these languages get the notice of a related language.
_READS = {"ms": "id", "yue": "zh", "wuu": "zh"}
# Characters. More than a paragraph does not help.
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
# One sign of these scripts counts as several Latin letters: it holds more text, and English names occur in all of them.
_LETTERS_OF_A_SIGN = {"cyrillic": 2, "arabic": 2, "devanagari": 2, "hangul": 3, "kana": 3, "han": 4}
# Characters that only Chinese uses; characters that only Japanese uses.
_CHINESE_ONLY = "[这這们們么麼什吗嗎说說请請给給你您她怎呢吧啊谢话写读见问题时间东车长门马语难让认识电脑]"
_JAPANESE_ONLY = "[円駅気図団覚桜単帰働込畑択売読発変対戦経済検広価営児悪楽焼]"
_A_TO_Z = "abcdefghijklmnopqrstuvwxyz"
# The letters of each language. Each other letter of its script in a text lowers its score by `_STRANGE_LETTER` levels.
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
# Points in advance: the languages of notices are more common than the related ones, and most readers know English.
_PRIOR = 6
_ENGLISH_PRIOR = 18
# A text with a larger share of other letters (more than a name has) is in a language without a profile.
_STRANGE_SHARE = 0.02
# So is a text that is far from all profiles: the mean level of its pairs and words is above this.
_FAR_LEVELS = 5
# The lead that the best language needs grows with the square root of the text's length, as random differences do.
# Scripts whose languages have different letters need a smaller lead.
_LEADS = {"latin": 0.5}
_LEAD = 0.1
# Added for very short texts: with a word or two, a lead by chance is more likely than the square root says.
_SHORT = 100
# Code and addresses are in no language.
_NO_WORDS = re.compile(r"```.*?(?:```|$)|`[^`\n]*`|https?://\S+|(?<![^\s@])[^\s@]+@\S+", re.DOTALL)
# `\w` lacks the vowel signs of Devanagari.
_LANGUAGE_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0900-\u0963'])*")
_ARABIC_VOWELS = re.compile(r"[\u064b-\u065f\u0670\u0640]")


class LanguageProfiles:
    """Language profiles that a text is compared with.

    Args:
        table: script -> language -> levels. A level is letter pairs without separators, `|`, words separated by spaces.
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
        """The language whose profile is nearest, whether it has notices or not; None if the lead may be by chance."""
        known = self._points.get(script, {})
        seen = [known[feature] for feature in language_features(text) if feature in known]
        if not seen:
            return None
        points = {language: _PRIOR * (language in NOTICE_LANGUAGES) for language in self._languages[script]}
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
            and points[best] >= (UNSEEN_LEVEL - _FAR_LEVELS) * len(seen)
            and strange.get(best, 0) <= _STRANGE_SHARE * letters.total()
        )
        return best if sure else None


def language_features(text: str) -> list[str]:
    """The words of a text, each between two spaces, and all pairs of characters in them."""
    found = []
    for word in _LANGUAGE_WORD.findall(_ARABIC_VOWELS.sub("", text.lower().replace("’", "'").replace("\u0307", ""))):
        spaced = f" {word} "
        found += [spaced[i : i + 2] for i in range(len(spaced) - 1)]
        found.append(spaced)
    return found


def language_of(text: str, reader_language: str | None = None, profiles: LanguageProfiles | None = None) -> str:
    """The language of `text`, one of `NOTICE_LANGUAGES`. If that is unclear, the reader's language; else English.

    Args:
        reader_language: the language setting of the reader, such as `de-DE`, if it is available.
        profiles: to use in place of the project's own.
    """
    own = _own_language(reader_language)
    sample = unicodedata.normalize("NFKC", _NO_WORDS.sub(" ", text[:_LANGUAGE_SAMPLE]))[:_LANGUAGE_SAMPLE]
    signs = {script: len(re.findall(pattern, sample)) for script, pattern in SCRIPT_LETTERS.items()}
    weights = {script: count * _LETTERS_OF_A_SIGN.get(script, 1) for script, count in signs.items()}
    weights["han"] += weights.pop("kana")
    script = max(weights, key=weights.__getitem__)
    if sum(map(str.isalpha, sample)) - sum(signs.values()) > weights[script]:
        # Mostly in a script that none of our languages uses.
        return own or "en"
    if script == "hangul" and signs["hangul"]:
        return "ko"
    if script == "han" and weights["han"]:
        return _chinese_or_japanese(sample, signs["kana"], signs["han"], own)
    nearest = (profiles or _project_profiles()).nearest(script, sample)
    return nearest if nearest in NOTICE_LANGUAGES else own or "en"


def _chinese_or_japanese(sample: str, kana: int, han: int, own: str | None) -> str:
    chinese = len(re.findall(_CHINESE_ONLY, sample))
    # Japanese has kana in each sentence. A Chinese question about a Japanese word has a few as well.
    if 10 * kana >= kana + han:
        return "zh" if 4 * chinese > kana else "ja"
    if not chinese and (own == "ja" or re.search(_JAPANESE_ONLY, sample)):
        return "ja"
    return "zh"


def _own_language(reader_language: str | None) -> str | None:
    """The language of notices for a setting such as `pt-BR`; None if there is none."""
    language = re.split("[-_]", reader_language.strip().lower(), maxsplit=1)[0] if reader_language else ""
    language = _READS.get(language, language)
    return language if language in NOTICE_LANGUAGES else None


@cache
def _project_profiles() -> LanguageProfiles:
    return LanguageProfiles(LANGUAGE_PROFILES)
