"""Writes moderation/notices/language_profiles.py from the training lines of the demo guard.

    python -m tools.language_profiles [--check]

For each script, the pairs of letters and the words that distinguish its languages best are kept. Each of them has a
level in each language: 0 in the language in which it is most likely, plus 1 for each 0.25 less of log likelihood.
"""

import argparse
import math
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from moderation.notices.language import SCRIPT_LETTERS, UNSEEN_LEVEL, language_features
from moderation.notices.notice_texts import TEXTS

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "moderation" / "notices" / "language_profiles.py"
LINES = ROOT / "training" / "gen" / "lines"
NEIGHBOURS = ROOT / "tools" / "language_neighbours.toml"
# Script -> its languages, and the number of pairs and words to keep.
SCRIPTS = {
    "latin": ("en es fr de pt it vi id ms tr az ca cs da fi hr hu jv lt nb nl pl ro sk sl sv sw tl uz", 1800),
    "cyrillic": ("ru uk be bg mk sr", 400),
    "arabic": ("ar fa ur", 320),
    "devanagari": ("hi mr ne", 260),
}
# Languages that share a profile. Malay readers read Indonesian; the others only need to be distinguished from ours.
SHARED = {"ms": "id", "nb": "da", "sv": "da", "sk": "cs", "hr": "sl", "mk": "sr"}
_LEVEL = 0.25
# Added to each count, so that a pair or word that is not in the lines is unlikely, but not impossible.
_SMOOTHING = 0.25
# Weight of the languages of notices, relative to the others, in the choice of pairs and words.
_NOTICE_WEIGHT = 3
_LONGEST_WORD = 6

Table = dict[str, dict[str, tuple[str, ...]]]


def all_lines() -> dict[str, list[str]]:
    """The lines of each language, in the order of the files."""
    lines = {path.stem: list(strings(tomllib.loads(path.read_text("utf-8")))) for path in sorted(LINES.glob("*.toml"))}
    for language, texts in tomllib.loads(NEIGHBOURS.read_text("utf-8")).items():
        lines[language] = texts
    for language, notices in TEXTS.items():
        lines[language] += notices.values()
    return lines


def build(lines: Mapping[str, list[str]]) -> Table:
    """The profiles of the languages, from their lines."""
    table: Table = {}
    for script, (languages, kept) in SCRIPTS.items():
        # Excludes English names in a Russian line.
        of_script = re.compile(f"(?:{SCRIPT_LETTERS[script]}|[ '])+")
        counts: dict[str, Counter[str]] = {}
        for language in languages.split():
            counter = counts.setdefault(SHARED.get(language, language), Counter())
            for line in lines[language]:
                found = filter(of_script.fullmatch, language_features(line))
                counter.update(feature for feature in found if len(feature) <= _LONGEST_WORD + 2)
        table[script] = _script(counts, kept)
    return table


def _script(counts: dict[str, Counter[str]], kept: int) -> dict[str, tuple[str, ...]]:
    totals = {language: counter.total() for language, counter in counts.items()}
    everywhere: dict[str, float] = defaultdict(float)
    worth: dict[str, float] = defaultdict(float)
    for language, counter in counts.items():
        for feature, count in counter.items():
            everywhere[feature] += count / totals[language] / len(counts)
    for language, counter in counts.items():
        weight = _NOTICE_WEIGHT if language in TEXTS else 1
        for feature, count in counter.items():
            if count > 1:
                share = count / totals[language]
                worth[feature] += weight * abs(share * math.log(share / everywhere[feature]))
    # Rounded, so that all machines give the same order.
    best = sorted(worth, key=lambda feature: (-round(worth[feature], 9), feature))[:kept]
    levels = {language: [Packed() for _ in range(UNSEEN_LEVEL)] for language in counts}
    for feature in sorted(best):
        # The absence of a pair or word that is rare everywhere means little.
        rare = _SMOOTHING * min(1, 3000 * everywhere[feature])
        likely = {
            language: math.log((counter[feature] + rare) / (totals[language] + _SMOOTHING * kept))
            for language, counter in counts.items()
        }
        top = max(likely.values())
        for language, value in likely.items():
            level = round(round((top - value) / _LEVEL, 6))
            if level < UNSEEN_LEVEL:
                levels[language][level].add(feature)
    return {language: tuple(str(level) for level in levels[language]) for language in counts}


class Packed:
    """The pairs and words of one level."""

    def __init__(self) -> None:
        self._pairs: list[str] = []
        self._words: list[str] = []

    def add(self, feature: str) -> None:
        if len(feature) == 2:
            self._pairs.append(feature)
        else:
            self._words.append(feature.strip())

    def __str__(self) -> str:
        return f"{''.join(self._pairs)}|{' '.join(self._words)}"


def text_of(table: Table) -> str:
    """The text of the generated module."""
    lines = [
        '"""GENERATED by `python -m tools.language_profiles`: profiles that distinguish the languages of a script.',
        "",
        "Script -> language -> sixteen levels, the most likely first. A level is letter pairs without separators, `|`,",
        "and words with spaces. `language.LanguageProfiles` reads them.",
        '"""',
        "",
        "LANGUAGE_PROFILES: dict[str, dict[str, tuple[str, ...]]] = {",
    ]
    for script, profiles in table.items():
        lines.append(f'    "{script}": {{')
        for language, levels in profiles.items():
            lines += [f'        "{language}": (', *(f'"{level}",' for level in levels), "        ),"]
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


def strings(value: object) -> Iterable[str]:
    """All strings in a value from a file of lines. The gaps of templates become spaces."""
    if isinstance(value, str):
        yield value.replace("{}", " ")
    elif isinstance(value, dict):
        for member in value.values():
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the language profiles.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the profiles are not current")
    check = parser.parse_args().check
    new = text_of(build(all_lines()))
    if TARGET.exists() and new == TARGET.read_text("utf-8"):
        return 0
    if check:
        print("the language profiles are not current: run `python -m tools.language_profiles`", file=sys.stderr)
        return 1
    TARGET.write_text(new, encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
