"""Trains the demo Stream guard: the trunk of the demo Gen, with heads that give a severity at every token.

    python -m training stream --data FOLDER

The Gen judges prefixes of the training data's unsafe answers, which shows where they turn bad. The same Gen, data, seed
and number of threads give the same weights on the same machine and library versions.
"""

import hashlib
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoTokenizer

from guard_server.catalog import DEMO_FOLDER, DEMO_STREAM_FOLDER, tokenizer_of
from guard_server.vllm_plugin.guard_tokenizer import GuardTokenizer
from moderation.verdict import Severity
from training.gen import draw, training_rows
from training.gen.batches import batches
from training.gen.training_rows import TrainingRow
from training.stream import card, passages
from training.stream.judge import GenJudge
from training.stream.loss import Loss
from training.stream.passages import Judge, Passage, PassageReader
from training.stream.stream_figures import RULES, calibrate, figures, readings, splice_figures
from training.stream.stream_network import GuardNetwork

TEMPLATE = DEMO_STREAM_FOLDER / "chat_template.jinja"

_PROMPTS = 8000
_ANSWERS = 12000
_SPLICES = 8000
_LEARNT_TOKENS = 256
_EPOCHS = 2
_TOKENS_PER_BATCH = 4096
_TRUNK_RATE, _HEADS_RATE = 1e-3, 3e-3
_WARM_UP = 0.1
_WEIGHT_DECAY = 0.05
# The heads are calibrated so that at most this share of the safe rows of `valid` is flagged.
_FALSE_POSITIVES = {"": 0.08, "query_": 0.1}
_MEASURED_BYTES = 4000
_MEASURED_SPLICES = 1200


def train(
    data: Path,
    out: Path = DEMO_STREAM_FOLDER,
    *,
    gen: Path = DEMO_FOLDER,
    seed: int = 0,
    threads: int = 2,
    epochs: int = _EPOCHS,
    share: float = 1.0,
    say: Callable[[str], None] = print,
) -> None:
    """Write weights, configuration, tokenizer, template and card to `out`.

    Args:
        data: a folder with the two files that `training_rows.FILES` names.
        gen: a Qwen3Guard-Gen with a trunk like the demo's: it judges, its trunk is trained further, its tokenizer is
            used as it is.
        seed: for all random choices.
        threads: of torch; the last bits of its sums depend on it.
        epochs: passes over the passages.
        share: of the passages to train on; a small share shows in a minute that it works.
        say: gets progress, one line at a time.

    Raises:
        FileNotFoundError: `data` or `gen` lacks a file.
    """
    began = time.monotonic()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    network = GuardNetwork.from_gen(gen)
    say(f"{sum(p.numel() for p in network.parameters())} parameters")
    judge = GenJudge(gen, say)
    reader = _reader(gen)
    learnt = _learnt(draw.learnt(data), replace(reader, longest=_LEARNT_TOKENS), judge, rng, share, say)
    say(f"{len(learnt.passages)} passages after {time.monotonic() - began:.0f} s")
    _fit(network, learnt.passages, epochs, rng, say)
    valid = training_rows.read(data, "valid")
    prompts, answers, splices = _measured(valid, reader, judge, rng)
    for branch, its in (("", answers), ("query_", prompts)):
        safe = [passage for passage in its if passage.label is Severity.SAFE]
        shift = calibrate(network, branch, safe, _FALSE_POSITIVES[branch])
        say(f"{'prompts' if branch else 'answers'}: the logit of Safe shifted by {shift:.2f}")
    out.mkdir(parents=True, exist_ok=True)
    network.save(out, gen)
    if out.resolve() != DEMO_STREAM_FOLDER.resolve():
        shutil.copy(TEMPLATE, out)
    # Measure the weights as they were written, in bfloat16.
    network = GuardNetwork.from_folder(out)
    report = card.TrainingReport(
        prompts=figures(readings(network, "query_", prompts), prompts, RULES["query_"]),
        answers=figures(readings(network, "", answers), answers, RULES[""]),
        splices=splice_figures(readings(network, "", splices), splices),
        learnt=learnt.counts,
        dropped=learnt.dropped,
        seed=seed,
        threads=threads,
        epochs=epochs,
        gen=hashlib.sha256((gen / "model.safetensors").read_bytes()).hexdigest(),
        parameters=sum(p.numel() for p in network.parameters()),
        seconds=time.monotonic() - began,
    )
    text = card.card(report)
    (out / "README.md").write_text(text, encoding="utf-8")
    say(card.table(report))
    say(f"written to {out}")


def _reader(gen: Path) -> PassageReader:
    """A reader that tokenizes like the endpoint that serves the guard."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of(gen))
    served = GuardTokenizer(tokenizer, TEMPLATE.read_text(encoding="utf-8"))
    return PassageReader(served.prompt, served.encode, tokenizer.model_max_length // 2)


class _Learnt(NamedTuple):
    """The training passages, and their counts for the card."""

    passages: list[Passage]
    counts: str
    dropped: str


def _learnt(
    weighed: Sequence[TrainingRow],
    reader: PassageReader,
    judge: Judge,
    rng: random.Random,
    share: float,
    say: Callable[[str], None],
) -> _Learnt:
    """Prompts, answers with the position where they turn bad, and splices."""
    drawn = draw.epoch(weighed, rng)
    rng.shuffle(drawn)
    asked = [row for row in drawn if row.kind == "prompt"][: int(share * _PROMPTS)]
    answered = [row for row in drawn if row.kind == "response"][: int(share * _ANSWERS)]
    answers = passages.answers(answered, reader, judge)
    splices = passages.splices(drawn, reader, judge, int(share * _SPLICES), rng)
    bad = sum(passage.bad is not None for passage in splices)
    counts = f"{len(asked)} prompts, {len(answers)} answers, {len(splices)} splices, {bad} of them with a bad sentence"
    say(counts)
    labelled, kept = Counter(row.severity for row in answered), Counter(passage.label for passage in answers)
    bad_ones = (Severity.UNSAFE, Severity.CONTROVERSIAL)
    dropped = ", ".join(f"{labelled[one] - kept[one]} of {labelled[one]} labelled {one}" for one in bad_ones)
    say(f"dropped, since the Gen does not find them as bad: {dropped}")
    return _Learnt([*passages.prompts(asked, reader), *answers, *splices], counts, dropped)


def _measured(
    valid: Sequence[TrainingRow], reader: PassageReader, judge: Judge, rng: random.Random
) -> tuple[list[Passage], list[Passage], list[Passage]]:
    """Prompts, answers and splices that were not used for training."""
    fitting = [row for row in valid if sum(len(turn.text.encode()) for turn in row.turns) < _MEASURED_BYTES]
    prompts = passages.prompts([row for row in fitting if row.kind == "prompt"], reader)
    answers = passages.wholes([row for row in fitting if row.kind == "response"], reader)
    splices = [passage for passage in passages.splices(fitting, reader, judge, _MEASURED_SPLICES, rng) if passage.bad]
    return prompts, answers, splices


def _fit(
    network: GuardNetwork, learnt: Sequence[Passage], epochs: int, rng: random.Random, say: Callable[[str], None]
) -> None:
    groups = [[learnt[at] for at in batch] for batch in batches([one.ids for one in learnt], _TOKENS_PER_BATCH)]
    trunk = [*network.model.parameters()]
    known = set(map(id, trunk))
    heads = [parameter for parameter in network.parameters() if id(parameter) not in known]
    rates = [_TRUNK_RATE, _HEADS_RATE]
    optimizer = torch.optim.AdamW([{"params": trunk}, {"params": heads}], weight_decay=_WEIGHT_DECAY, betas=(0.9, 0.98))
    steps = epochs * len(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=_WARM_UP, cycle_momentum=False)
    loss_of = Loss(network, learnt)
    began, shown, running = time.monotonic(), 0.0, 0.0
    network.train()
    for step in range(steps):
        if step % len(groups) == 0:
            rng.shuffle(groups)
        loss = loss_of(groups[step % len(groups)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += (loss.item() - running) / min(step + 1, 50)
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            say(f"step {step + 1}/{steps}  loss {running:.3f}  {shown - began:.0f} s")
