"""Composes Korean syllables from letters that were written one by one."""

import re

_JAMO_RUN = re.compile("[\u3131-\u3163]{4,}")
_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_JAMO_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_FIRST_SYLLABLE = 0xAC00


def composed_jamo(text: str) -> str:
    """`text` with runs of single Korean letters as syllables, if they make any."""
    return text if text.isascii() else _JAMO_RUN.sub(_composed, text)


def _composed(run: re.Match[str]) -> str:
    letters, parts, at = run[0], list[str](), 0
    while at < len(letters):
        first, vowel, last = (letters[at + place : at + place + 1] for place in range(3))
        if first not in _INITIALS or not vowel or vowel not in _JAMO_VOWELS:
            parts.append(first)
            at += 1
            continue
        # A consonant before a vowel begins the next syllable.
        closes = last != "" and last in _FINALS and letters[at + 3 : at + 4] not in tuple(_JAMO_VOWELS)
        code = (_INITIALS.index(first) * len(_JAMO_VOWELS) + _JAMO_VOWELS.index(vowel)) * len(_FINALS)
        parts.append(chr(_FIRST_SYLLABLE + code + (_FINALS.index(last) if closes else 0)))
        at += 3 if closes else 2
    return "".join(parts)
