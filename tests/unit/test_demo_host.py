"""What runs the plugins of the demo, and what is installed there."""

import os
import subprocess

import pytest

from demo.errors import StackError
from demo.state import ROOT
from demo.webui_client.host import Host
from demo.webui_client.protection import Protection


@pytest.mark.parametrize("host", Host)
@pytest.mark.parametrize("protection", Protection)
def test_every_file_that_is_installed_exists(host: Host, protection: Protection) -> None:
    files = host.files(protection)
    assert [file for file in files if not file.is_file()] == []
    names = {file.stem for file in files}
    assert (host.models in names, host.filter in names) == (protection.guarded, protection.direct)
    refusal = host.refusal(protection)
    # It is an entry of the guarded models, or a file of its own.
    assert refusal is None or refusal.partition(".")[0] in names


def test_a_host_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "functoins")
    with pytest.raises(StackError, match="functoins"):
        Host.from_environment()


@pytest.mark.parametrize(
    ("exported", "given", "used"),
    [
        (None, None, ""),
        ("my-computer", None, ""),
        ("functions", None, "functions"),
        ("my-computer", "functions", "functions"),
        ("functions", "functoins", "functoins"),
    ],
)
def test_make_ignores_the_name_of_the_machine(exported: str | None, given: str | None, used: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOST", "MAKEFLAGS")}
    environment |= {"HOST": exported} if exported else {}
    # Prints what a recipe would have, and runs none.
    command = ["make", "-s", "--eval", "shown: ; @echo $$HOST", "shown", *([f"HOST={given}"] if given else [])]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == used
