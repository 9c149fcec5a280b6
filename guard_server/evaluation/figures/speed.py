"""The speed and the cost of verdicts."""

from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel

from guard_server.evaluation.ask.results import Result


class Speed(BaseModel):
    """Figures of the rows with a verdict; None if there are none."""

    p50_seconds: float | None
    p95_seconds: float | None
    verdicts_per_second: float | None
    """Over the time in which at least one conversation was waiting. Pauses between runs do not count."""
    concurrency: list[int]
    """Numbers of conversations that were judged at the same time, over all runs."""
    requests_per_verdict: float | None
    prompt_tokens: int
    generated_tokens: int
    prompt_tokens_per_verdict: float | None
    generated_tokens_per_verdict: float | None


def speed(results: Sequence[Result]) -> Speed:
    reached = [result for result in results if result.outcome == "verdict"]
    waits = np.array([result.seconds for result in reached])
    count = len(reached)
    prompt = sum(result.prompt_tokens for result in reached)
    generated = sum(result.generated_tokens for result in reached)
    return Speed(
        p50_seconds=float(np.percentile(waits, 50)) if count else None,
        p95_seconds=float(np.percentile(waits, 95)) if count else None,
        # Time-outs take time too, so all results count here.
        verdicts_per_second=count / _busy(results) if count else None,
        concurrency=sorted({result.concurrency for result in results}),
        requests_per_verdict=sum(result.requests for result in reached) / count if count else None,
        prompt_tokens=prompt,
        generated_tokens=generated,
        prompt_tokens_per_verdict=prompt / count if count else None,
        generated_tokens_per_verdict=generated / count if count else None,
    )


def _busy(results: Iterable[Result]) -> float:
    """Seconds in the union of all waiting times."""
    total, until = 0.0, 0.0
    for start, end in sorted((result.started, result.started + result.seconds) for result in results):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
