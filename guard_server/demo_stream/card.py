"""The demo Stream guard's model card: the trainer writes it, so its figures are those of the weights beside it."""

from dataclasses import dataclass

from guard_server.demo_stream.figures import Figures, SpliceFigures

_CARD = """---
license: apache-2.0
library_name: vllm
pipeline_tag: text-classification
---
# The demo guard (Stream): a demonstration, not for production

A language model of {millions:.1f} million parameters in the form of a Qwen3Guard-Stream: it says at every token what it
thinks, so that a bad answer is stopped while it is written. With it everything around a guard can be run and tested
with no GPU and no download. It misses harmful text and flags harmless text. **Protect people with the real one:**
[Qwen/Qwen3Guard-Stream-0.6B](https://huggingface.co/Qwen/Qwen3Guard-Stream-0.6B), 4B or 8B
(`python -m guard_server serve stream-0.6b`).

| | |
|---|---|
| made by | `python -m guard_server train-demo-stream --data ../shared/data/train` |
| with | seed {seed}, {threads} threads, {epochs} epochs; {minutes:.0f} minutes |
| learnt from | {learnt} |
| trunk, labels from | the demo guard (Gen), weights with SHA-256 `{gen}…` |
| data | as the demo guard (Gen): the permissively licensed files, and our own lines |
| served by | `python -m guard_server serve demo-stream` |

**Labels.** The data says of a whole answer what it is. Of one labelled Unsafe, the demo Gen judges prefixes, every
eighth token and the whole: at the first from which on all are Unsafe, the answer turns Unsafe, and before it is Safe.
Likewise Controversial. Left out, because the Gen does not find them as bad as their label: {dropped}.
Beside these are splices: a safe answer with a sentence from an unsafe row behind it, or from a safe one.

**Threshold.** The heads are shifted so that few safe rows of `valid` are flagged: the figures are of these very rows.

## Figures

On the data's own `valid` split, from the same sources as the training data, which flatters. Flagged by the rule that is
served, strictly: two tokens in a row of an answer, or the token that ends a prompt. Prompts and answers beyond
4,000 bytes are left out.

{table}
"""


@dataclass(frozen=True)
class Report:
    """One run of the trainer."""

    prompts: Figures
    answers: Figures
    splices: SpliceFigures
    learnt: str
    """How many passages of each sort."""
    dropped: str
    """How many answers were left out, and how they are labelled."""
    seed: int
    threads: int
    epochs: int
    gen: str
    """SHA-256 of the Gen's weights."""
    parameters: int
    seconds: float


def table(report: Report) -> str:
    """The figures in Markdown."""
    prompts, answers, splices = report.prompts, report.answers, report.splices
    place = f"{answers.place:.2f} of the answer"
    return f"""| | safe rows | flagged | unsafe rows | flagged | mean place of the flag |
|---|---|---|---|---|---|
{_line("prompts", prompts, "")}
{_line("answers", answers, place)}

Splices of `valid` rows, a safe answer and behind it a sentence that the demo Gen finds Unsafe by itself: of
{splices.rows}, {splices.exact:.2f} are flagged in that sentence (exact hit), {splices.ahead:.2f} before it, and
{splices.soon:.2f} before it, in it, or at most 128 tokens behind it."""


def _line(name: str, its: Figures, place: str) -> str:
    return f"| {name} | {its.safe} | {its.false_positives:.2f} | {its.unsafe} | {its.recall:.2f} | {place} |"


def card(report: Report) -> str:
    """The text of README.md."""
    return _CARD.format(
        millions=report.parameters / 1e6,
        minutes=report.seconds / 60,
        seed=report.seed,
        threads=report.threads,
        epochs=report.epochs,
        gen=report.gen[:12],
        learnt=report.learnt,
        dropped=report.dropped,
        table=table(report),
    )
