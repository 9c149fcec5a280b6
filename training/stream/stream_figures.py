"""Figures of the demo Stream guard on passages, by the served rule; and the calibration of its heads by that rule."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch.nn.utils.rnn import pad_sequence

from guard_server.stream.confirmation_rule import TwoInARow
from guard_server.stream.head_labels import Labels
from moderation.verdict import Severity
from training.gen.batches import batches
from training.stream.passages import Passage
from training.stream.stream_network import GuardNetwork

_TOKENS_PER_BATCH = 8192
_SOON = 128
# The largest shift of the logit of Safe, up or down, and the number of bisection steps.
_FARTHEST = 20.0
_HALVINGS = 24

Flagged = Callable[[Sequence[Severity]], int | None]
"""Index of the reading at which the rule flags; None if it does not."""


def in_a_row(severities: Sequence[Severity]) -> int | None:
    """The rule for an answer (strict): see `stream.confirmation_rule`."""
    rule = TwoInARow("strict")
    for severity in severities:
        rule.feed(severity)
    return rule.violation


def at_once(severities: Sequence[Severity]) -> int | None:
    """The rule for a prompt, which has one reading."""
    return None if severities[0] is Severity.SAFE else 0


RULES: dict[str, Flagged] = {"": in_a_row, "query_": at_once}
"""By branch of heads: "" for answers, "query_" for prompts."""


def calibrate(network: GuardNetwork, branch: str, safe: Sequence[Passage], wanted: float) -> float:
    """Shift the logit of Safe just so far that at most the share `wanted` of the `safe` passages is flagged.

    The heads have no bias, so the shift is added to the head's weights, along the vector whose product with all inputs
    is closest to 1 (least squares).

    Returns:
        The shift, in logits.
    """
    head = network.get_submodule(f"{branch}risk_level_head").weight.detach()
    seen = _inner(network, branch, safe)
    every = torch.cat(seen)
    one = torch.linalg.lstsq(every, torch.ones(len(every), 1)).solution[:, 0]
    at = _order(network, branch).index(Severity.SAFE)
    original, low, high = head[at].clone(), -_FARTHEST, _FARTHEST
    for _ in range(_HALVINGS):
        head[at] = original + (low + high) / 2 * one
        found = sum(RULES[branch](severities) is not None for severities in _severities(network, branch, seen))
        low, high = (low, (low + high) / 2) if found <= wanted * len(safe) else ((low + high) / 2, high)
    head[at] = original + high * one
    return high


def readings(network: GuardNetwork, branch: str, passages: Sequence[Passage]) -> list[list[Severity]]:
    """The most likely severity at each judged position of each passage."""
    return _severities(network, branch, _inner(network, branch, passages))


def _inner(network: GuardNetwork, branch: str, passages: Sequence[Passage]) -> list[torch.Tensor]:
    """The input of the heads at these positions: (places, inner size) for each passage."""
    network.eval()
    found = dict[int, torch.Tensor]()
    for batch in batches([passage.ids for passage in passages], _TOKENS_PER_BATCH):
        ids = pad_sequence([torch.tensor(passages[at].ids) for at in batch], batch_first=True)
        with torch.no_grad():
            rows = network.inner(ids)[branch]
        found |= {at: row[passages[at].places] for at, row in zip(batch, rows, strict=True)}
    return [found[at] for at in range(len(passages))]


def _severities(network: GuardNetwork, branch: str, seen: Sequence[torch.Tensor]) -> list[list[Severity]]:
    order, head = _order(network, branch), network.get_submodule(f"{branch}risk_level_head")
    return [[order[number] for number in head(one).argmax(-1).tolist()] for one in seen]


def _order(network: GuardNetwork, branch: str) -> tuple[Severity, ...]:
    labels = Labels.of(network.config)
    return labels.query_severities if branch else labels.answer_severities


@dataclass(frozen=True)
class PassageFigures:
    """Figures of passages with one label each. Shares are 0 to 1."""

    safe: int
    """Number of safe passages."""
    unsafe: int
    """Number of unsafe passages."""
    false_positives: float
    """Flagged share of the safe passages."""
    recall: float
    """Flagged share of the unsafe passages."""
    place: float
    """Mean position of the flag in flagged unsafe passages, as a share of the passage's tokens."""


@dataclass(frozen=True)
class SpliceFigures:
    """Figures of answers with a bad sentence at a known position, as in the technical report, section 4.4.

    Shares are 0 to 1.
    """

    rows: int
    ahead: float
    """Flagged before that sentence, in safe text."""
    exact: float
    """Flagged in it."""
    soon: float
    """Flagged before it, in it, or at most 128 tokens after it."""


def figures(found: Sequence[list[Severity]], passages: Sequence[Passage], flagged: Flagged) -> PassageFigures:
    """Figures of `passages`, from the readings at their positions."""
    rows = [(flagged(one), len(one), passage.label) for one, passage in zip(found, passages, strict=True)]
    safe = [at for at, _, label in rows if label is Severity.SAFE]
    unsafe = [(at, length) for at, length, label in rows if label is Severity.UNSAFE]
    places = [(at + 1) / length for at, length in unsafe if at is not None]
    return PassageFigures(
        safe=len(safe),
        unsafe=len(unsafe),
        false_positives=_share(at is not None for at in safe),
        recall=_share(at is not None for at, _ in unsafe),
        place=_share(places),
    )


def splice_figures(found: Sequence[list[Severity]], passages: Sequence[Passage]) -> SpliceFigures:
    """Figures of the `passages` that are splices with a bad sentence, from the readings at their positions."""
    rows = [(in_a_row(one), *passage.bad) for one, passage in zip(found, passages, strict=True) if passage.bad]
    return SpliceFigures(
        rows=len(rows),
        ahead=_share(at is not None and at < start for at, start, _ in rows),
        exact=_share(at is not None and start <= at < stop for at, start, stop in rows),
        soon=_share(at is not None and at < stop + _SOON for at, _, stop in rows),
    )


def _share(values: Iterable[float]) -> float:
    """The mean; 0 for no values."""
    return fmean(found) if (found := list(values)) else 0.0
