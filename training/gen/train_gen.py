"""Trains the demo guard (Gen): a Qwen3 of a few million parameters that writes Qwen3Guard-Gen's verdicts.

    python -m training gen --data FOLDER

The same data, seed and number of threads give the same weights on the same machine and library versions.
"""

import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from guard_server.catalog import DEMO_FOLDER, tokenizer_of
from training.gen import bag, demo_tokenizer, draw, pieces, planted_network, word_statistics
from training.gen.batches import batches
from training.gen.examples import TEMPLATE, Encoder, Example
from training.gen.teacher import Teacher
from training.gen.training_rows import TrainingRow

_VOCABULARY = 24576
_TOKENS_PER_BATCH = 4096
_EPOCHS = 2
# Per epoch: texts made of pieces that a teacher graded.
_PIECES = 100_000
_PEAK_RATE = 1.5e-3
# The share of each optimizer step that is applied to word embeddings: the planted values generalise better than those
# that training would find. (The harm dimensions of words are not trained at all.)
_WORD_STEP = 0.2
_WARM_UP = 0.06
_WEIGHT_DECAY = 0.05
_EMBEDDING_DECAY = 0.01
_EMBEDDING_DROPOUT = 0.1
_WORD_DROPOUT = 0.1
_AVERAGE_DECAY = 0.99
# Most steps compute the softmax over a sample of the vocabulary, which saves a third of the time; the last steps use
# all of it.
_OTHER_TOKENS = 256
_ALL_TOKENS_FROM = 0.95


def train(
    data: Path,
    out: Path = DEMO_FOLDER,
    *,
    seed: int = 0,
    threads: int = 2,
    epochs: int = _EPOCHS,
    leave_out: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Write weights, configuration and tokenizer to `out`; see `catalog.tokenizer_of` for the last.

    Args:
        data: a folder with the two files that `training_rows.FILES` names.
        seed: for all random choices.
        threads: of torch (the last bits of its sums depend on it), and processes that compute sentence vectors.
        epochs: passes over the weighted rows.
        leave_out: source groups (`training_rows.source_group`) to exclude from training, to measure on them later.
        say: gets progress, one line at a time.

    Raises:
        FileNotFoundError: `data` lacks one of the files.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    learnt = draw.learnt(data, leave_out)
    seen = [draw.epoch(learnt, rng) for _ in range(epochs)]
    say(f"{len(learnt)} rows; building the vocabulary")
    out.mkdir(parents=True, exist_ok=True)
    # From the rows of an epoch: in all rows, our own lines with all their ways of asking would dominate.
    vocabulary = demo_tokenizer.build(_texts(seen[0]), _VOCABULARY)
    _save_tokenizer(vocabulary, tokenizer_of(out))
    if out.resolve() != DEMO_FOLDER.resolve():
        shutil.copy(TEMPLATE, out)
    model = planted_network.build(vocabulary)
    say(f"{sum(p.numel() for p in model.parameters())} parameters")
    encode = Encoder(vocabulary)
    say("encoding")
    drawn = [encode.rows(rows) for rows in seen]
    say("training the teacher on the labels")
    teacher = Teacher(drawn[0], encode, threads)
    say("asking the teacher for whole turns")
    odds = [teacher.sense([one.text for one in examples], [one.kind for one in examples]) for examples in drawn]
    say("learning words")
    # The other dimensions are a word's harm and a constant.
    learnt_words = word_statistics.learn(
        drawn[0], odds[0], encode, model.config.hidden_size - 1 - word_statistics.HARMS, threads
    )
    bag.plant(learnt_words, model, encode)
    for number, examples in enumerate(drawn):
        say("asking the teacher for pieces")
        made = pieces.draw(_PIECES, examples, encode, teacher, rng)
        drawn[number] = [*encode.softened(examples, torch.tensor(odds[number]).sigmoid().tolist()), *made]
    _fit(model, _steps(drawn, rng), encode, say)
    model.to(torch.bfloat16).save_pretrained(out)
    say(f"written to {out}")


def _texts(rows: Sequence[TrainingRow]) -> Iterator[str]:
    for row in rows:
        yield "user\njudge the prompt above.\nassistant\njudge the answer above."
        yield from (turn.text for turn in row.turns)


def _save_tokenizer(vocabulary: Any, out: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, as vLLM loads them."""
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=vocabulary,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(demo_tokenizer.SPECIAL[1:]),
        model_max_length=planted_network.CONTEXT,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)


def _steps(drawn: Sequence[list[Example]], rng: random.Random) -> list[list[Example]]:
    """Batches of similar length, in random order within each epoch."""
    steps = []
    for examples in drawn:
        rng.shuffle(examples)
        epoch = [[examples[at] for at in batch] for batch in batches([one.ids for one in examples], _TOKENS_PER_BATCH)]
        rng.shuffle(epoch)
        steps += epoch
    return steps


def _fit(model: Any, steps: Sequence[Sequence[Example]], encode: Encoder, say: Callable[[str], None]) -> None:
    """Train `model`. It ends with a running average of its weights, which generalises better than the last weights."""
    embeddings = model.model.embed_tokens.weight
    matrices = [p for p in model.parameters() if p.ndim > 1 and p is not embeddings]
    groups = [
        {"params": [embeddings], "weight_decay": _EMBEDDING_DECAY},
        {"params": matrices, "weight_decay": _WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=_PEAK_RATE, betas=(0.9, 0.98))
    weights = [p.detach() for p in model.parameters()]
    average = [p.clone() for p in weights]
    began, shown, running = time.monotonic(), 0.0, 0.0
    model.train()
    for step, batch in enumerate(steps):
        done = step / len(steps)
        for group in optimizer.param_groups:
            group["lr"] = _PEAK_RATE * _schedule(done)
        before = embeddings.detach()[: encode.first_reply].clone()
        loss = _loss(model, batch, encode, all_tokens=done >= _ALL_TOKENS_FROM)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            after = embeddings[: encode.first_reply]
            after.copy_(torch.lerp(before, after, _WORD_STEP))
            after[:, : word_statistics.HARMS] = before[:, : word_statistics.HARMS]
        if step % 4 == 0:
            torch._foreach_lerp_(average, weights, 1 - min(_AVERAGE_DECAY, (step + 1) / (step + 10)))
        running = 0.98 * running + 0.02 * loss.item()
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            shown_loss = running / (1 - 0.98 ** (step + 1))
            say(f"step {step + 1}/{len(steps)}  loss {shown_loss:.3f}  {shown - began:.0f} s")
    torch._foreach_copy_(weights, average)


def _schedule(done: float) -> float:
    return done / _WARM_UP if done < _WARM_UP else 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))


def _loss(model: Any, batch: Sequence[Example], encode: Encoder, *, all_tokens: bool) -> Any:
    length = max(len(example.ids) for example in batch)
    wanted = max(len(example.reply) for example in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    inside = torch.zeros(len(batch), length, dtype=torch.bool)
    places = torch.zeros(len(batch), wanted, dtype=torch.long)
    replies = torch.full((len(batch), wanted), encode.replies[0])
    worth = torch.zeros(len(batch), wanted)
    instead = torch.full((len(batch),), encode.replies[0])
    instead_worth = torch.zeros(len(batch))
    for index, example in enumerate(batch):
        ids[index, : len(example.ids)] = torch.tensor(example.ids)
        inside[index, example.turn.start : example.turn.stop] = True
        first, size = len(example.ids) - len(example.reply), len(example.reply)
        # Each token of the reply is predicted at the position before it.
        places[index, :size] = torch.arange(first - 1, first - 1 + size)
        replies[index, :size] = torch.tensor(example.reply)
        worth[index, :size] = torch.tensor(example.worth)
        if example.instead:
            instead[index], instead_worth[index] = example.instead
    lost = inside & (torch.rand(ids.shape) < _WORD_DROPOUT)
    seen = torch.where(lost, torch.randint(0, encode.vocabulary, ids.shape), ids)
    embedded = functional.dropout(model.model.embed_tokens(seen), _EMBEDDING_DROPOUT)
    read = planted_network.hidden(model, embedded, places)
    if all_tokens:
        scores = model.lm_head(read)
    else:
        known = torch.tensor(encode.replies)
        candidates = torch.cat((known, torch.randint(0, encode.first_reply, (_OTHER_TOKENS,))))
        scores = read @ functional.embedding(candidates, model.lm_head.weight).T
        replies, instead = (torch.searchsorted(known, each) for each in (replies, instead))
    likelihoods = scores.log_softmax(-1)
    said = likelihoods.gather(-1, replies[..., None])[..., 0]
    # The severity is the second token of a reply.
    said_instead = likelihoods[:, 1].gather(-1, instead[:, None])[:, 0]
    return -((said * worth).sum() + (said_instead * instead_worth).sum()) / len(batch)
