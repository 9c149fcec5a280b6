"""The checks of `doctor`, in order. Each checks one thing, and returns what it found or raises the problem."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple

from guard_server.doctor import completion_checks, endpoint_checks, route_checks, speed_checks, verdict_checks
from guard_server.doctor.examined_endpoint import ExaminedEndpoint
from guard_server.doctor.findings import Failed, Fatal, NoReply


class About(StrEnum):
    """The subject of a check."""

    ENDPOINT = "endpoint"
    """The configuration of the server, independent of the model's verdicts."""
    VERDICTS = "verdicts"
    """The model's verdicts on the examples in the model card."""
    PIPELINES = "pipelines"
    """The configuration of the Pipelines server."""


class Check(NamedTuple):
    name: str
    look: Callable[[ExaminedEndpoint], Awaitable[str]]
    about: About = About.ENDPOINT


def heard(
    look: Callable[[ExaminedEndpoint], Awaitable[str]], *, fatal: bool = False
) -> Callable[[ExaminedEndpoint], Awaitable[str]]:
    """A version of `look` that turns `NoReply` into `Failed`; with `fatal`, into `Fatal`."""

    async def heard(examined: ExaminedEndpoint) -> str:
        try:
            return await look(examined)
        except NoReply as silence:
            raise (Fatal if fatal else Failed)(silence.found, silence.remedy) from None

    return heard


CHECKS = (
    Check("reachable", heard(endpoint_checks.reachable, fatal=True)),
    Check("key", heard(endpoint_checks.key)),
    Check("model", heard(endpoint_checks.is_qwen3guard, fatal=True)),
    Check("server", heard(endpoint_checks.server)),
    Check("context", heard(endpoint_checks.context)),
    Check("template", heard(completion_checks.template)),
    Check("one-token verdicts", heard(completion_checks.one_token)),
    Check("prefix cache", heard(speed_checks.prefix_cache)),
    Check("latency of ten verdicts", heard(speed_checks.latency)),
    Check("stream endpoint", heard(route_checks.stream)),
    Check("moderations endpoint", heard(route_checks.moderations)),
    Check("version of vLLM", heard(endpoint_checks.version)),
    Check("bomb prompt", heard(verdict_checks.bomb), About.VERDICTS),
    Check("refusal", heard(verdict_checks.refusal), About.VERDICTS),
)
