"""`python -m guard_server doctor` as a subprocess, as a user starts it."""

import os
import subprocess
import sys

from demo.state import ROOT
from tests.stands.waiting import PATIENCE


def doctor(url: str, key: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Examine a guard, as a user does."""
    command = [sys.executable, "-m", "guard_server", "doctor", "--guard-url", url, "--timeout", str(PATIENCE), *options]
    env = os.environ | {"GUARD_API_KEY": key, "COLUMNS": "120"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)
