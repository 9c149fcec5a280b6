"""Trains the demo guard (Gen): a Qwen3 of a few million parameters that writes Qwen3Guard-Gen's verdicts.

    python -m guard_server train-demo --data ../shared/data/train

The same data, seed and number of threads give the same weights on the same machine and library versions.
"""

import hashlib
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guard_server import demo_reply, demo_rows, demo_tokenizer
from guard_server.demo_rows import Row
from moderation.verdict import Category, Severity

OUT = Path(__file__).parent / "demo_model"
TEMPLATE = OUT / "chat_template.jinja"
CONTEXT = 2048
"""Tokens; longer turns are judged in windows by whoever asks."""

_VOCABULARY = 12288
_ARCHITECTURE = {
    "hidden_size": 160,
    "intermediate_size": 400,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
_TOKENS_PER_BATCH = 4096
_EPOCHS = 2
_PEAK_RATE = 2e-3
_WARM_UP = 0.06
_WEIGHT_DECAY = 0.05
_EMBEDDING_DROPOUT = 0.1
_WORD_DROPOUT = 0.08
_LABEL_SMOOTHING = 0.04
_AVERAGE_DECAY = 0.998
# Of the loss: the severity decides; the rest of the reply is easy; every place of the judged turn is asked too.
_SEVERITY, _CATEGORY, _REFUSAL, _FORM, _PLACES = 1.0, 0.4, 0.25, 0.05, 0.15


@dataclass(frozen=True)
class Example:
    """Token ids of one conversation with its reply, and how much each of them counts as a target."""

    ids: list[int]
    weights: list[float]
    turn: range
    """Where the judged turn stands in `ids`."""
    severity: int
    """0 safe, 1 controversial, 2 unsafe."""


def train(
    data: Path,
    out: Path = OUT,
    *,
    seed: int = 0,
    threads: int = 2,
    epochs: int = _EPOCHS,
    leave_out: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Write weights, configuration and tokenizer to `out`.

    Args:
        data: a folder with the two files that `demo_rows.FILES` names.
        seed: of everything random.
        threads: of torch; the sums depend on it in their last bits.
        epochs: passes over the weighted rows.
        leave_out: source groups (`demo_rows.source_group`) not to learn from, to be measured on them afterwards.
        say: gets one line of progress at a time.

    Raises:
        FileNotFoundError: `data` lacks one of the files.
    """
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    rows = demo_rows.weigh([row for row in demo_rows.read(data, "train") if row.source not in leave_out])
    say(f"{len(rows)} rows; building the vocabulary")
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = demo_tokenizer.build(_texts(rows), _VOCABULARY)
    _save_tokenizer(tokenizer, out)
    if out.resolve() != OUT.resolve():
        shutil.copy(TEMPLATE, out)
    model = _model(tokenizer)
    say(f"{sum(p.numel() for p in model.parameters())} parameters")
    encode = Encoder(tokenizer)
    epoch_batches = [_batches(encode.rows(demo_rows.epoch(rows, rng)), rng) for _ in range(epochs)]
    average = _fit(model, epoch_batches, encode, say)
    model.load_state_dict(average)
    model.to(torch.bfloat16).save_pretrained(out)
    say(f"written to {out}")


def _texts(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield "user\njudge the prompt above.\nassistant\njudge the answer above."
        yield from (turn.text[:600] for turn in row.turns)


def _save_tokenizer(tokenizer: Any, out: Path) -> None:
    """`tokenizer.json` and `tokenizer_config.json`, as vLLM loads them."""
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(demo_tokenizer.SPECIAL[1:]),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)


def _model(tokenizer: Any) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    end = tokenizer.token_to_id("<|im_end|>")
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=CONTEXT,
        rope_theta=1_000_000.0,
        tie_word_embeddings=True,
        eos_token_id=end,
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        bos_token_id=None,
        use_cache=True,
        **_ARCHITECTURE,
    )
    model = Qwen3ForCausalLM(config)
    # One greedy verdict is what the guard is for; nothing else of the generation defaults fits it.
    model.generation_config.update(do_sample=False, eos_token_id=end)
    return model


class Encoder:
    """Rows to examples, through the very template that is served."""

    def __init__(self, tokenizer: Any, template: Path = TEMPLATE) -> None:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._tokenizer = tokenizer
        self._template = ImmutableSandboxedEnvironment().from_string(template.read_text(encoding="utf-8"))
        token = tokenizer.token_to_id
        self._start, self._end = token("<|im_start|>"), token("<|im_end|>")
        self.severities = [token(f" {severity}") for severity in Severity]
        self.vocabulary: int = tokenizer.get_vocab_size()
        categories = [token(f"{mark}{category}") for mark in (" ", ", ") for category in Category]
        self._worth = dict.fromkeys(self.severities, _SEVERITY)
        self._worth |= dict.fromkeys([*categories, token(" None")], _CATEGORY)
        self._worth |= dict.fromkeys([token(" Yes"), token(" No")], _REFUSAL)

    def prompt(self, turns: Sequence[tuple[str, str]]) -> str:
        return str(self._template.render(messages=[{"role": role, "content": text} for role, text in turns]))

    def rows(self, rows: Sequence[Row]) -> list[Example]:
        prompts = self._tokenizer.encode_batch([self.prompt(row.turns) for row in rows], add_special_tokens=False)
        replies = [demo_reply.reply_text(row.severity, row.categories, row.refusal) for row in rows]
        encoded = self._tokenizer.encode_batch(replies, add_special_tokens=False)
        return [self._example(row, p.ids, r.ids) for row, p, r in zip(rows, prompts, encoded, strict=True)]

    def _example(self, row: Row, prompt: list[int], reply: list[int]) -> Example:
        if row.categories is not None:
            reply = [*reply, self._end]
        starts = [place for place, token in enumerate(prompt) if token == self._start]
        # The judged turn is the last but two: the question to the guard and its reply follow.
        first = starts[-3] + 3
        worth = [self._worth.get(token, _FORM) for token in reply]
        severity = list(Severity).index(row.severity)
        turn = range(first, prompt.index(self._end, first))
        return Example([*prompt, *reply], [0.0] * len(prompt) + worth, turn, severity)


def _batches(examples: list[Example], rng: random.Random) -> list[list[Example]]:
    """Batches of like length and of at most `_TOKENS_PER_BATCH` tokens, in random order."""
    rng.shuffle(examples)
    examples.sort(key=lambda example: len(example.ids) // 16)
    batches: list[list[Example]] = [[]]
    for example in examples:
        longest = max([len(example.ids), *(len(other.ids) for other in batches[-1])])
        if longest * (len(batches[-1]) + 1) > _TOKENS_PER_BATCH:
            batches.append([])
        batches[-1].append(example)
    rng.shuffle(batches)
    return batches


def _fit(
    model: Any, epochs: Sequence[Sequence[Sequence[Example]]], encode: Encoder, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train `model`; returns a running average of its weights, which generalizes better than the last ones."""
    import torch

    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=_PEAK_RATE, betas=(0.9, 0.98))
    steps = sum(map(len, epochs))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    began, shown, running = time.monotonic(), 0.0, 0.0
    model.train()
    for step, batch in enumerate(batch for batches in epochs for batch in batches):
        rate = _PEAK_RATE * _schedule(step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(model, batch, encode)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(_AVERAGE_DECAY, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - decay)
        running = 0.98 * running + 0.02 * loss.item()
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            done = running / (1 - 0.98 ** (step + 1))
            say(f"step {step + 1}/{steps}  loss {done:.3f}  {shown - began:.0f} s")
    return average


def _schedule(done: float) -> float:
    return done / _WARM_UP if done < _WARM_UP else 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))


def _loss(model: Any, batch: Sequence[Example], encode: Encoder) -> Any:
    import torch
    from torch.nn import functional

    length = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    weights = torch.zeros(len(batch), length)
    inside = torch.zeros(len(batch), length)
    for index, example in enumerate(batch):
        ids[index, : len(example.ids)] = torch.tensor(example.ids)
        weights[index, : len(example.ids)] = torch.tensor(example.weights)
        # A turn's last places have seen more of it, so they count for more.
        size = len(example.turn)
        inside[index, example.turn.start : example.turn.stop] = torch.linspace(0, 2 / max(size, 1), size)
    severity = torch.tensor([example.severity for example in batch])
    seen = torch.where(
        (inside > 0) & (torch.rand(ids.shape) < _WORD_DROPOUT), torch.randint(0, encode.vocabulary, ids.shape), ids
    )
    embedded = functional.dropout(model.model.embed_tokens(seen), _EMBEDDING_DROPOUT)
    # Padding stands on the right, where causal attention keeps it from being seen: no mask is needed.
    hidden = model.model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    targets = weights[:, 1:] > 0
    logits = model.lm_head(hidden[:, :-1][targets])
    losses = functional.cross_entropy(logits, ids[:, 1:][targets], reduction="none", label_smoothing=_LABEL_SMOOTHING)
    reply = (losses * weights[:, 1:][targets]).sum() / len(batch)
    labels = model.lm_head.weight[torch.tensor(encode.severities)]
    places = inside > 0
    at_places = functional.cross_entropy(
        hidden[places] @ labels.T, severity[:, None].expand_as(ids)[places], reduction="none"
    )
    return reply + _PLACES * (at_places * inside[places]).sum() / len(batch)


def file_digests(data: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of each training file, for the model card."""
    for path in (*(data / name for name in demo_rows.FILES), demo_rows.EVERYDAY):
        yield path.name, hashlib.sha256(path.read_bytes()).hexdigest()
