"""The loss of the demo Stream guard's training."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from guard_server.stream.head_labels import Labels
from moderation.verdict import Category, Severity
from training.stream.passages import Passage
from training.stream.stream_network import GuardNetwork

# Total weight of all positions of a severity. Most tokens are Safe, in training as in use.
_SHARES = {Severity.SAFE: 0.55, Severity.CONTROVERSIAL: 0.05, Severity.UNSAFE: 0.4}
_CATEGORIES = 0.2
"""Weight of the categories, relative to the severities."""


class Loss:
    """Cross-entropy at each labelled position, with severities balanced over all `passages`; plus categories."""

    def __init__(self, network: GuardNetwork, passages: Sequence[Passage]) -> None:
        self._network = network
        labels = Labels.of(network.config)
        self._branches = [
            _Branch("", labels.answer_severities, labels.answer_categories, passages),
            _Branch("query_", labels.query_severities, labels.query_categories, passages),
        ]

    def __call__(self, batch: Sequence[Passage]) -> torch.Tensor:
        logits = self._network(pad_sequence([torch.tensor(passage.ids) for passage in batch], batch_first=True))
        return torch.stack([branch.loss(logits, batch) for branch in self._branches]).sum()


class _Branch:
    """The loss of the two heads that judge answers (""), or of those that judge prompts ("query_")."""

    def __init__(
        self, name: str, severities: Sequence[Severity], categories: Sequence[Category], passages: Sequence[Passage]
    ) -> None:
        self._name, self._severities, self._categories = name, severities, categories
        counts = Counter(level for passage in passages if self._judges(passage) for level in passage.levels)
        self._worth = torch.tensor([_SHARES[severity] / max(1, counts[severity]) for severity in severities])

    def loss(self, logits: dict[str, torch.Tensor], batch: Sequence[Passage]) -> torch.Tensor:
        """The loss at the positions of this branch; 0 if a batch has none."""
        risks, wanted, reasons, causes = [], list[int](), [], []
        for row, passage in enumerate(batch):
            if not self._judges(passage):
                continue
            known = torch.tensor([float(category in passage.categories) for category in self._categories])
            for place, level in zip(range(len(passage.ids))[passage.places], passage.levels, strict=True):
                if level is None:
                    continue
                risks.append((row, place))
                wanted.append(self._severities.index(level))
                if level is not Severity.SAFE and known.any():
                    reasons.append((row, place))
                    causes.append(known / known.sum())
        total = logits[f"{self._name}risk_level"].new_zeros(())
        if risks:
            found = _at(logits[f"{self._name}risk_level"], risks)
            total = total + functional.cross_entropy(found, torch.tensor(wanted), weight=self._worth)
        if reasons:
            found = _at(logits[f"{self._name}category"], reasons)
            total = total + _CATEGORIES * functional.cross_entropy(found, torch.stack(causes))
        return total

    def _judges(self, passage: Passage) -> bool:
        return bool(passage.answer) is (self._name == "")


def _at(logits: torch.Tensor, places: Sequence[tuple[int, int]]) -> torch.Tensor:
    rows, columns = zip(*places, strict=True)
    return logits[torch.tensor(rows), torch.tensor(columns)]
