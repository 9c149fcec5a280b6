"""The guard's result for each row, in an append-only file, so that a run can be stopped at any time and resumed later.

One JSON object per line, written as soon as the verdict arrives. It identifies a conversation by its hash and has no
text of the data.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Literal

import openai
from pydantic import BaseModel, ConfigDict, ValidationError

from guard_server.errors import UnreadableResults
from moderation.policy import Strictness
from moderation.verdict import Verdict

Outcome = Literal["verdict", "unreadable", "time-out", "rejected", "error"]
"""`unreadable`: a reply that is no verdict. `time-out`: no reply in time. `rejected`: the endpoint rejects the
conversation (HTTP 400 or 422). `error`: any other HTTP error, or the endpoint is unreachable."""
REJECTIONS = (openai.BadRequestError, openai.UnprocessableEntityError)
OUTCOMES: tuple[Outcome, ...] = ("verdict", "unreadable", "time-out", "rejected", "error")


class Flag(BaseModel):
    """The token at which a Stream model refuses an answer."""

    model_config = ConfigDict(frozen=True)

    token: int
    """Index in the answer (0-based)."""
    character: int
    """Index of the token's first character in the answer."""


class Result(BaseModel):
    """The result for one conversation."""

    model_config = ConfigDict(frozen=True)

    key: str
    """Hash of the conversation."""
    endpoint: str
    model: str
    outcome: Outcome
    verdict: Verdict
    """Without a severity unless the outcome is `verdict`."""
    started: float
    """Seconds since 1970."""
    seconds: float
    """Until the verdict arrived, retries included."""
    concurrency: int
    """Number of conversations that were judged at the same time."""
    requests: int
    prompt_tokens: int
    """Of all requests for this verdict, as counted by the endpoint; 0 if it does not count."""
    generated_tokens: int
    refusal_asked: bool = False
    """Whether the guard was also asked if the answer refuses its prompt."""
    flags: dict[Strictness, Flag] = {}
    """The tokens at which a Stream model refuses the answer, if it does."""


class Results:
    """The results of one endpoint and model, in a file that may also have those of others. Later lines win."""

    def __init__(self, file: FileIO, endpoint: str, model: str) -> None:
        self._file = file
        self._endpoint = endpoint
        self._model = model
        self.known = {result.key: result for result in self._read()}

    def add(self, result: Result) -> None:
        self._file.write(result.model_dump_json().encode() + b"\n")
        self.known[result.key] = result

    def _read(self) -> Iterator[Result]:
        self._file.seek(0)
        lines = self._file.readall().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            # Incomplete because of a crash: remove it, so that the next line does not continue it.
            self._file.truncate(sum(map(len, lines[:-1])))
            del lines[-1]
        for number, line in enumerate(lines, 1):
            try:
                result = Result.model_validate_json(line)
            except ValidationError as error:
                raise UnreadableResults(
                    f"{self._file.name}, line {number} is not a result: {error.errors()[0]['msg']}",
                    "Remove that line, or give another folder with --out.",
                ) from error
            if (result.endpoint, result.model) == (self._endpoint, self._model):
                yield result


@contextmanager
def open_results(path: Path, endpoint: str, model: str) -> Iterator[Results]:
    """The results in `path`, which is created if it is missing, and locked for this process.

    Raises:
        UnreadableResults: a line is not a result, or another run writes to this file.
    """
    with path.open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnreadableResults(
                f"Another run is writing to {path}.", "Wait for it, or give another folder with --out."
            ) from None
        yield Results(file, endpoint, model)
