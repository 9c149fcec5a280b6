"""Checks of how fast verdicts come."""

import re
import statistics
import time

from guard_server.doctor.examined_endpoint import ExaminedEndpoint
from guard_server.doctor.findings import Failed, Notable
from moderation.conversation import Turn

# A pause of this length before each answer is noticeable.
_SLOW_SECONDS = 1.0
_VERDICTS = 10


async def prefix_cache(examined: ExaminedEndpoint) -> str:
    reply = await examined.server.get(f"{examined.server.root}/metrics")
    found = re.search(r'^vllm:cache_config_info\{.*enable_prefix_caching="(\w+)"', reply.text, re.MULTILINE)
    if reply.status != 200 or found is None:
        raise Notable(
            "unknown: there are no metrics of vLLM",
            "Without it every check of a growing answer starts over. vLLM has it by default.",
        )
    if found[1] != "True":
        raise Notable("off", "Every check of a growing answer starts over: serve without --no-enable-prefix-caching.")
    return "on"


async def latency(examined: ExaminedEndpoint) -> str:
    seconds = []
    for number in range(_VERDICTS):
        started = time.monotonic()
        # The current time makes each text new, so that no verdict is cached.
        verdict = await examined.guard.judge([Turn("user", f"Is {time.time_ns() + number} an even number?")])
        seconds.append(time.monotonic() - started)
        if not verdict.reached:
            raise Failed(f"no verdict {number + 1} of {_VERDICTS}: {verdict.problem}", "Read the guard's log.")
    median, slowest = statistics.median(seconds), max(seconds)
    found = f"median {median * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms"
    if median > _SLOW_SECONDS:
        raise Notable(found, "Every chat waits for this: serve a smaller model, use a GPU, or reduce the load.")
    return found
