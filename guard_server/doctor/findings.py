"""The problems that a check of a guard endpoint raises.

DoctorError     what was found, and the remedy
├── NoReply     no HTTP reply at all
├── Failed      verdicts are missing or cannot be trusted
│   └── Fatal   and no later check is possible
└── Notable     it works, but could be better
Unfit           the check does not apply to this endpoint
"""

SERVE = "Start the guard with: qwen3guard serve"
"""A remedy of several checks."""


class DoctorError(Exception):
    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


class NoReply(DoctorError): ...


class Failed(DoctorError): ...


class Fatal(Failed): ...


class Notable(DoctorError): ...


class Unfit(Exception):
    """The check does not apply. The message says why."""
