"""Open WebUI started anew on the same data, with further environment variables."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from demo.stack.stack import Stack
from tests.stands.waiting import PATIENCE, wait_until


@contextmanager
def restarted(stack: Stack, **variables: str) -> Iterator[None]:
    """It runs inside the context, and is stopped afterwards."""
    stack.stop_child("webui")
    child = stack.processes.children["webui"]
    environment = {**os.environ, **child.environment, **variables}
    with stack.state.log("restarted").open("ab") as log:
        process = subprocess.Popen(child.argv, cwd=child.cwd, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(child.health) or process.poll() is not None)
        assert process.poll() is None, stack.state.log("restarted").read_text()[-4000:]
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False
