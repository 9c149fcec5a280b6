"""Checks of further routes that a guard may offer."""

from guard_server.doctor.examined_endpoint import HARMLESS, ExaminedEndpoint
from guard_server.doctor.findings import Failed, Notable


async def stream(examined: ExaminedEndpoint) -> str:
    if examined.streams:
        return "offered"
    raise Notable(
        "not offered: growing answers are checked again and again instead",
        "Nothing, for a Gen model. For token-level verdicts: qwen3guard serve stream-0.6b",
    )


async def moderations(examined: ExaminedEndpoint) -> str:
    examined.require_gen()
    reply = await examined.server.post("/moderations", {"input": HARMLESS[0].text})
    if reply.status in (404, 405, 501):
        raise Notable(
            "not offered",
            f"Nothing, if no other tool needs it. Else: qwen3guard api --guard-url {examined.server.url}",
        )
    results = reply.field("results")
    if not isinstance(results, list) or not results:
        raise Failed(f"/moderations answered {reply.status}: {reply.excerpt}", "Read the guard's log.")
    return "offered"
