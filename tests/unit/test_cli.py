import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from guard_server import __version__, cli
from guard_server.serve import hardware
from guard_server.serve.hardware import Hardware
from guard_server.serve.launch import GIB
from guard_server.serve.pip_commands import install_extra, install_for_cpu

ROOT = Path(__file__).parents[2]
COMMANDS = ("serve", "api", "doctor", "install", "eval", "splice")
HEAVY = {
    "openai",
    "aiohttp",
    "httpx",
    "starlette",
    "uvicorn",
    "sklearn",
    "matplotlib",
    "datasets",
    "numpy",
    "torch",
    "vllm",
}


def click_group() -> Any:
    # Typer's own copy of click, whose types are not exported.
    return typer.main.get_command(cli.app)


@pytest.fixture(autouse=True)
def _a_machine_with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "detect", lambda: Hardware("cpu", 32 * GIB, 30 * GIB))


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200"})
    assert "Traceback" not in result.output
    return result


def test_without_vllm_the_remedy_is_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("serve", "demo")
    assert result.exit_code == 1
    assert "Error: vLLM is not installed" in result.stderr
    assert install_extra("gpu") in result.stderr
    assert install_for_cpu() in result.stderr


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gen-06b", "Did you mean gen-0.6b"),
        ("demo-steam", "Did you mean demo-stream"),
        ("/nowhere", "There is no folder /nowhere"),
    ],
)
def test_a_wrong_model_ends_with_status_1_a_cause_and_a_remedy(model: str, says: str) -> None:
    result = run("serve", model, "--port", "8339")
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert "Remedy: " in result.stderr
    assert says in result.stderr


def test_a_wrong_model_is_reported_before_a_missing_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("serve", "gen-06b")
    assert result.exit_code == 1
    assert "Did you mean gen-0.6b" in result.stderr
    assert "vLLM" not in result.stderr


def test_a_taken_port_ends_with_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("serve", "demo", "--port", str(other.getsockname()[1]))
    assert result.exit_code == 1
    assert "Address already in use" in result.stderr


def test_no_model_is_the_default_and_never_the_demo() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("serve", "--port", str(other.getsockname()[1]))
    assert "serving gen-0.6b" in result.stdout


def test_an_option_of_vllm_before_the_model_is_explained() -> None:
    result = run("serve", "--enforce-eager", "gen-4b")
    assert result.exit_code == 2
    assert "name the model before" in result.stderr


def test_the_help_names_exactly_the_existing_commands() -> None:
    output = run("--help").output
    assert all(command in output for command in COMMANDS)


def test_the_version_is_that_of_the_plugins() -> None:
    assert run("--version").output == f"{__version__}\n"
    assert f"\nversion: {__version__}\n" in (ROOT / "dist/qwen3guard_filter.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_that_takes_long(command: str) -> None:
    program = (
        "import sys; from guard_server.cli import app\n"
        "try: app([word for word in sys.argv[1:] if word])\n"
        f"finally: print('imported:', *sorted({HEAVY!r} & sys.modules.keys()))"
    )
    arguments = [sys.executable, "-c", program, command, "--help"]
    shown = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "--help" in shown.stdout
    assert shown.stdout.endswith("imported:\n")


def test_the_same_option_has_the_same_name_in_every_command() -> None:
    named: dict[str, set[str]] = {}
    for command in click_group().commands.values():
        for parameter in command.params:
            for variable in [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []:
                named.setdefault(variable, set()).update(parameter.opts)
    # The key that `serve` requires is the key that the other commands must send.
    assert named == {
        "GUARD_URL": {"--guard-url"},
        "GUARD_API_KEY": {"--guard-key", "--api-key"},
        "VLLM_API_KEY": {"--guard-key", "--api-key"},
        "MODERATION_API_KEY": {"--api-key"},
        "OPEN_WEBUI_URL": {"--webui"},
        "QWEN3GUARD_WEBHOOK": {"--webhook"},
    }
    for name in ("api", "doctor", "eval"):
        options = {option for parameter in click_group().commands[name].params for option in parameter.opts}
        assert {"--guard-url", "--guard-key", "--model", "--timeout"} <= options
        assert "--url" not in options
        assert ("--api-key" in options) == (name == "api")


def test_the_api_says_which_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("api", "--port", str(other.getsockname()[1]))
    assert result.exit_code == 1
    assert "Address already in use" in result.stderr


def test_without_a_server_library_the_remedy_is_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "guard_server.api.app", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("api")
    assert result.exit_code == 1
    assert "Error: uvicorn is not installed in this Python." in result.stderr
    assert f"Remedy: {install_extra('api')}\n" in result.stderr
