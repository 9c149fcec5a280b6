"""A Qwen3Guard-Gen in torch that judges many conversations at once, for the Stream trainer's labels and figures."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from guard_server.catalog import tokenizer_of
from moderation.conversation import Conversation
from moderation.verdict import Severity
from training.gen.batches import batches

_PREFILL = "Safety:"
_TOKENS_PER_BATCH = 8192
_SAY_SECONDS = 20


class GenJudge:
    """A `passages.Judge`: the most likely severity as the first word of the verdict.

    Args:
        folder: a Qwen3Guard-Gen with its tokenizer and chat template.
        say: gets a line of progress from time to time.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._say = say
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer_of(folder))
        self._template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._prefill = self._ids(_PREFILL)
        words = [self._ids(f"{_PREFILL} {severity}")[len(self._prefill)] for severity in Severity]
        self._words = self._model.get_output_embeddings().weight[words]

    def __call__(self, conversations: Sequence[Conversation]) -> list[Severity]:
        return [tuple(Severity)[best] for best in self.probabilities(conversations).argmax(-1).tolist()]

    def probabilities(self, conversations: Sequence[Conversation]) -> torch.Tensor:
        """(conversations, severities), in the order of `Severity`."""
        ids = [[*prompt, *self._prefill] for prompt in self._prompts(conversations)]
        found = torch.zeros(len(ids), len(Severity))
        done, shown = 0, time.monotonic()
        for batch in batches(ids, _TOKENS_PER_BATCH):
            # Padding is on the right, which causal attention does not see.
            padded = pad_sequence([torch.tensor(ids[at]) for at in batch], batch_first=True)
            last = torch.tensor([len(ids[at]) - 1 for at in batch])
            with torch.no_grad():
                hidden = self._model.model(padded).last_hidden_state[torch.arange(len(batch)), last]
                found[batch] = (hidden @ self._words.T).softmax(-1)
            done += len(batch)
            if time.monotonic() - shown > _SAY_SECONDS:
                shown = time.monotonic()
                self._say(f"the Gen has judged {done} of {len(ids)} texts, the longest first")
        return found

    def _prompts(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        messages = [[{"role": turn.role, "content": turn.text} for turn in turns] for turns in conversations]
        if not messages:
            return []
        texts = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids
