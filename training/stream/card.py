"""The demo Stream guard's model card. The trainer writes it together with the weights, so its figures are theirs."""

from dataclasses import dataclass

from training.stream.stream_figures import PassageFigures, SpliceFigures

_CARD = """---
license: apache-2.0
library_name: vllm
pipeline_tag: text-classification
---
# The demo guard (Stream): a demonstration, not for production

A language model of {millions:.1f} million parameters in the form of a Qwen3Guard-Stream: it gives a verdict at every
token, so that a bad answer is stopped while it is written. With it, everything around a guard can be run and tested
without a GPU or a download. It misses harmful text and flags harmless text. **Protect people with the real one:**
[Qwen/Qwen3Guard-Stream-0.6B](https://huggingface.co/Qwen/Qwen3Guard-Stream-0.6B), 4B or 8B
(`qwen3guard serve stream-0.6b`).

| | |
|---|---|
| made by | `python -m training stream --data FOLDER` ([the data](../../../docs/training-data.md)) |
| with | seed {seed}, {threads} threads, {epochs} epochs; {minutes:.0f} minutes |
| learnt from | {learnt} |
| trunk, labels from | the demo guard (Gen), weights with SHA-256 `{gen}…` |
| data | as the demo guard (Gen): the permissively licensed files, and our own lines |
| served by | `qwen3guard serve demo-stream` |

**Labels.** The data has one label per answer. For an answer labelled Unsafe, the demo Gen judges its prefixes, one per
eight tokens, and the whole. The answer counts as Unsafe from the first prefix after which all are Unsafe, and as Safe
before it. The same for Controversial. Left out, because the Gen does not find them as bad as their label: {dropped}.
In addition there are splices: a safe answer followed by a sentence from an unsafe row, or from a safe one.

**Threshold.** The heads are shifted so that few safe rows of `valid` are flagged. The figures are for the same rows.

## Figures

On the data's own `valid` split, from the same sources as the training data, so they are better than on other data.
Flagged by the served rule (strict): two tokens in a row of an answer, or the token that ends a prompt. Prompts and
answers of more than 4,000 bytes are left out.

{table}
"""


@dataclass(frozen=True)
class TrainingReport:
    """One run of the trainer."""

    prompts: PassageFigures
    answers: PassageFigures
    splices: SpliceFigures
    learnt: str
    """Number of passages of each sort."""
    dropped: str
    """Number of answers that were left out, by label."""
    seed: int
    threads: int
    epochs: int
    gen: str
    """SHA-256 of the Gen's weights."""
    parameters: int
    seconds: float


def table(report: TrainingReport) -> str:
    """The figures in Markdown."""
    prompts, answers, splices = report.prompts, report.answers, report.splices
    place = f"{answers.place:.2f} of the answer"
    return f"""| | safe rows | flagged | unsafe rows | flagged | mean place of the flag |
|---|---|---|---|---|---|
{_line("prompts", prompts, "")}
{_line("answers", answers, place)}

Splices of `valid` rows, a safe answer followed by a sentence that the demo Gen finds Unsafe by itself: of
{splices.rows}, {splices.exact:.2f} are flagged in that sentence (exact hit), {splices.ahead:.2f} before it, and
{splices.soon:.2f} before it, in it, or at most 128 tokens after it."""


def _line(name: str, its: PassageFigures, place: str) -> str:
    return f"| {name} | {its.safe} | {its.false_positives:.2f} | {its.unsafe} | {its.recall:.2f} | {place} |"


def card(report: TrainingReport) -> str:
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
