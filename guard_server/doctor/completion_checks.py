"""Checks of how the server can be asked: the quickest way is a verdict in one token."""

from guard_server.doctor.examined_endpoint import HARMLESS, ExaminedEndpoint
from guard_server.doctor.findings import SERVE, Failed, Notable
from moderation.endpoint.prefill import VERDICT_PREFILL, prefilled, severity_after_prefill
from moderation.endpoint.server_facts import Style
from moderation.verdict import Severity


async def template(examined: ExaminedEndpoint) -> str:
    examined.require_gen()
    reply = await examined.complete(HARMLESS, 1, logprobs=True, **prefilled(VERDICT_PREFILL))
    if reply.completion is None:
        # Some servers reject requests for log-probabilities.
        reply = await examined.complete(HARMLESS, 1, **prefilled(VERDICT_PREFILL))
    token = reply.completion.first_token if reply.completion else ""
    if severity_after_prefill(token) is None:
        found = (
            f"began with {examined.server.without_key(token)[:60]!r}"
            if token
            else f"was {reply.status}: {reply.excerpt}"
        )
        raise Notable(
            f"verdict_prefill is not honoured: the reply {found}",
            f"Verdicts are read in full, which costs 7 to 37 tokens in place of one. {SERVE}",
        )
    return "takes verdict_prefill"


async def one_token(examined: ExaminedEndpoint) -> str:
    examined.require_gen()
    verdict = await examined.guard.judge(HARMLESS)
    if not verdict.reached:
        raise Failed(f"no verdict: {verdict.problem}", "Read the guard's log.")
    if examined.endpoint.style is not Style.ONE_TOKEN:
        if verdict.probabilities is None:
            raise Notable(
                "every verdict is a full reply, without probabilities",
                f"Leave block_threshold at 0, which needs them, or use a server that gives log-probabilities. {SERVE}",
            )
        raise Notable("every verdict is a full reply, with probabilities", f"See the template above. {SERVE}")
    if verdict.probabilities is None:
        raise Notable(
            f"work ({verdict.severity}), but without probabilities", "Use a server that gives log-probabilities."
        )
    return f"work: {verdict.severity}, with probability {verdict.probabilities[Severity(verdict.severity or '')]:.3f}"
