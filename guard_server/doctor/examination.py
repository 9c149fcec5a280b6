"""Runs all checks of a guard endpoint: a report of findings, with a remedy for each problem. See docs/doctor.md."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from guard_server import catalog
from guard_server.doctor.checks import CHECKS, About, Check, heard
from guard_server.doctor.examined_endpoint import ExaminedEndpoint
from guard_server.doctor.findings import Failed, Fatal, Notable, Unfit
from guard_server.doctor.raw_replies import RawServer
from guard_server.doctor.signing_key import secret_key


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Verdicts are right, but slower or with fewer features; or this could not be determined."""
    FAILURE = "failure"
    """Verdicts are missing or cannot be trusted."""
    NOT_CHECKED = "not checked"
    """Does not apply, or could not be checked because of an earlier failure."""


class Finding(BaseModel):
    """The result of one check."""

    model_config = ConfigDict(frozen=True)

    check: str
    about: About
    level: Level
    found: str
    remedy: str | None = None
    """What to do about it; None if there is nothing to do."""


class DoctorReport(BaseModel):
    """All findings, in the order of the checks."""

    model_config = ConfigDict(frozen=True)

    url: str
    model: str | None
    demonstration: bool
    """Whether it is a demo guard, whose verdicts are never to be relied on."""
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing failed. Warnings do not count."""
        return not any(finding.level is Level.FAILURE for finding in self.findings)


async def examine(
    url: str, key: str | None = None, model: str = "auto", seconds: float = 10, pipelines: str | None = None
) -> DoctorReport:
    """Check the endpoint from the outside, as a client would use it.

    Args:
        url: as for the `openai` SDK, e.g. "http://localhost:8000/v1".
        key: sent as a bearer token.
        model: a name from the server's /v1/models, or "auto", as for `Endpoint`.
        seconds: time limit for one reply.
        pipelines: address of a Pipelines server whose key is checked too.
    """
    findings: list[Finding] = []
    obstacle: str | None = None
    async with RawServer(url, key, seconds) as server, ExaminedEndpoint.of(server, model) as examined:
        for check in CHECKS:
            if obstacle is None:
                finding, fatal = await _find(check, examined)
                obstacle = check.name if fatal else None
            else:
                finding = _finding(check, Level.NOT_CHECKED, f"see {obstacle!r} above")
            findings.append(finding)
        if pipelines:
            check = Check(
                "key of the Pipelines server", heard(lambda _: secret_key(pipelines, seconds)), About.PIPELINES
            )
            findings.append((await _find(check, examined))[0])
        return DoctorReport(
            url=server.url,
            model=examined.model,
            demonstration=catalog.demo_served_as(examined.model) is not None,
            findings=tuple(findings),
        )


async def _find(check: Check, examined: ExaminedEndpoint) -> tuple[Finding, bool]:
    """A finding, and whether it makes all later checks impossible."""
    try:
        return _finding(check, Level.OK, await check.look(examined)), False
    except Unfit as reason:
        return _finding(check, Level.NOT_CHECKED, str(reason)), False
    except Notable as notable:
        return _finding(check, Level.WARNING, notable.found, notable.remedy), False
    except Failed as failed:
        return _finding(check, Level.FAILURE, failed.found, failed.remedy), isinstance(failed, Fatal)


def _finding(check: Check, level: Level, found: str, remedy: str | None = None) -> Finding:
    return Finding(check=check.name, about=check.about, level=level, found=found, remedy=remedy)
