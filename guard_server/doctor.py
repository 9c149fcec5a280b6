"""What is right and wrong with a guard endpoint: a report of findings, each with a remedy. See docs/doctor.md."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from guard_server.doctor_checks import CHECKS, About, Check, heard
from guard_server.doctor_patient import Patient
from guard_server.doctor_pipelines import secret_key
from guard_server.doctor_problems import Failed, Fatal, Notable, Unfit
from guard_server.doctor_server import Server


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """The endpoint gives right verdicts, but slower, with less around it, or in a way that cannot be seen."""
    FAILURE = "failure"
    """Verdicts are missing or cannot be trusted."""
    NOT_CHECKED = "not checked"
    """It does not apply, or could not be seen for a failure above."""


class Finding(BaseModel):
    """The outcome of one check."""

    model_config = ConfigDict(frozen=True)

    check: str
    about: About
    level: Level
    found: str
    remedy: str | None = None
    """What to do about it; None where there is nothing to do."""


class Report(BaseModel):
    """All findings, in the order of the checks."""

    model_config = ConfigDict(frozen=True)

    url: str
    model: str | None
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing failed; warnings are no illness."""
        return not any(finding.level is Level.FAILURE for finding in self.findings)


async def examine(
    url: str, key: str | None = None, model: str = "auto", seconds: float = 10, pipelines: str | None = None
) -> Report:
    """Check the endpoint from the outside, as a client would use it.

    Args:
        url: as the `openai` SDK takes it, e.g. "http://localhost:8000/v1".
        key: sent as a bearer.
        model: a name from the server's /v1/models, or "auto", as in `moderation.Endpoint`.
        seconds: to wait for one reply.
        pipelines: the address of a Pipelines server whose key is looked at too.
    """
    findings: list[Finding] = []
    obstacle: str | None = None
    async with Server(url, key, seconds) as server, Patient.of(server, model) as patient:
        for check in CHECKS:
            if obstacle is None:
                finding, fatal = await _find(check, patient)
                obstacle = check.name if fatal else None
            else:
                finding = _finding(check, Level.NOT_CHECKED, f"see {obstacle!r} above")
            findings.append(finding)
        if pipelines:
            check = Check(
                "key of the Pipelines server", heard(lambda _: secret_key(pipelines, seconds)), About.PIPELINES
            )
            findings.append((await _find(check, patient))[0])
        return Report(url=server.url, model=patient.model, findings=tuple(findings))


async def _find(check: Check, patient: Patient) -> tuple[Finding, bool]:
    """A finding, and whether nothing after it can be seen."""
    try:
        return _finding(check, Level.OK, await check.look(patient)), False
    except Unfit as reason:
        return _finding(check, Level.NOT_CHECKED, str(reason)), False
    except Notable as notable:
        return _finding(check, Level.WARNING, notable.found, notable.remedy), False
    except Failed as failed:
        return _finding(check, Level.FAILURE, failed.found, failed.remedy), isinstance(failed, Fatal)


def _finding(check: Check, level: Level, found: str, remedy: str | None = None) -> Finding:
    return Finding(check=check.name, about=check.about, level=level, found=found, remedy=remedy)
