"""What docker-compose.yml starts: each program gets its keys, its command and settings that it takes."""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard_server import cli
from guard_server.catalog import Hub
from guard_server.serve import hardware, hub_files, serving
from guard_server.serve.hardware import Hardware
from guard_server.serve.launch import GIB, ServeOptions
from pipelines.qwen3guard_filter import Valves
from pipelines.service import ModelsValves
from tests.stands.compose import (
    ALL,
    DOCKERFILES,
    DOWNLOADS,
    EXTENDED,
    GUARDS,
    PROJECT,
    ROOT,
    SERVICES,
    TEXT,
    VARIABLE,
    WEBUIS,
    example,
    filled_in,
    secrets_of,
)
from webui.moderator import ModerationValves

# ---- keys ----


def test_keys_are_in_files_only() -> None:
    assert not [name for name in example() if re.search("KEY|PASSWORD|TOKEN", name)]
    for service in ALL.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("KEY|PASSWORD(?!_FILE$)|TOKEN", name), f"{name}={value}"
    used = {
        secret if isinstance(secret, str) else secret["source"]
        for service in ALL.values()
        for secret in service.get("secrets", [])
    }
    assert used == set(EXTENDED["secrets"])


def test_each_program_gets_its_keys_and_no_other() -> None:
    assert secrets_of("open-webui") == {"WEBUI_SECRET_KEY": "webui_secret_key", "OPENAI_API_KEYS": "pipelines_api_key"}
    assert secrets_of("open-webui-functions") == {
        "WEBUI_SECRET_KEY": "webui_secret_key",
        "OPENAI_API_KEYS": "upstream_api_key",
        "QWEN3GUARD_GUARD_API_KEY": "guard_api_key",
    }
    assert secrets_of("pipelines") == {
        "PIPELINES_API_KEY": "pipelines_api_key",
        "QWEN3GUARD_GUARD_API_KEY": "guard_api_key",
        "QWEN3GUARD_UPSTREAM_API_KEYS": "upstream_api_key",
    }
    for name in GUARDS:
        assert secrets_of(name) == {"GUARD_API_KEY": "guard_api_key"}
    for name in DOWNLOADS:
        assert secrets_of(name) == {}
    # Each target is a variable that the entrypoint sets, so each of these services starts with it.
    for name in SERVICES:
        assert SERVICES[name]["entrypoint"][:2] == ["sh", "/run/entrypoint.sh"]
        assert SERVICES[name]["configs"] == [{"source": "entrypoint", "target": "/run/entrypoint.sh"}]
    assert (ROOT / PROJECT["configs"]["entrypoint"]["file"]).is_file()


def test_the_script_writes_every_key_once(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/make_secrets.sh", tmp_path / "deploy")
    script = ["sh", str(tmp_path / "deploy/make_secrets.sh")]
    subprocess.run(script, check=True, capture_output=True)
    files = {name: tmp_path / secret["file"] for name, secret in EXTENDED["secrets"].items()}
    keys = {name: file.read_text() for name, file in files.items()}
    assert keys.pop("upstream_api_key") == "none"
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys.values())
    assert len(set(keys.values())) == len(keys)
    # Closed to others here, and readable for the containers' users, whoever they are.
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o644}
    files["upstream_api_key"].write_text("sk-mine\n")
    subprocess.run(script, check=True, capture_output=True)
    assert {name: files[name].read_text() for name in keys} == keys
    assert files["upstream_api_key"].read_text() == "sk-mine\n"
    ignored = subprocess.run(["git", "check-ignore", "secrets/guard_api_key", ".env"], cwd=ROOT, capture_output=True)
    assert ignored.stdout == b"secrets/guard_api_key\n.env\n"


def test_a_program_starts_with_its_secrets_as_variables(tmp_path: Path) -> None:
    def started(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "SECRETS_DIR": str(tmp_path)}
        script = ["sh", str(ROOT / "deploy/entrypoint.sh"), *command]
        return subprocess.run(script, env=environment, capture_output=True, text=True)

    # The guard's download has no secrets.
    assert started("echo", "two words").stdout == "two words\n"
    (tmp_path / "GUARD_API_KEY").write_text("it's $ecret \n")
    (tmp_path / "OPENAI_API_KEYS").write_text("a;b")
    shown = started("sh", "-c", 'echo "<$GUARD_API_KEY> <$OPENAI_API_KEYS>"; exit 3')
    assert (shown.stdout, shown.returncode) == ("<it's $ecret > <a;b>\n", 3)
    (tmp_path / "OPENAI_API_KEYS").write_text("\n")
    refused = started("echo", "started without a key")
    assert (refused.stdout, refused.returncode) == ("", 1)
    assert "OPENAI_API_KEYS is empty" in refused.stderr


# ---- the guard ----

MODELS: list[dict[str, str]] = [{}, {"GUARD_MODEL": "gen-8b", "GUARD_HUB": "modelscope"}]


def guard_command(name: str, values: dict[str, str]) -> list[str]:
    """What the container runs after `python3 -m guard_server`."""
    program = re.search(r"^ENTRYPOINT (\[.*\])$", DOCKERFILES["guard_server"], re.M)
    assert program
    assert SERVICES[name]["entrypoint"][2:] == json.loads(program[1]) == ["python3", "-m", "guard_server"]
    return [filled_in(word, values) for word in SERVICES[name]["command"]]


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("values", MODELS)
def test_serve_accepts_the_guards_command(name: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ServeOptions]] = []
    monkeypatch.setattr(hardware, "detect", lambda: Hardware("cpu", 32 * GIB, 30 * GIB))
    monkeypatch.setattr(serving, "serve", lambda model, options: asked.append((model, options)))
    variables = dict.fromkeys(secrets_of(name), "k")
    result = CliRunner().invoke(cli.app, guard_command(name, values), env=variables)
    assert result.exit_code == 0, result.output
    hub: Hub = "modelscope" if values.get("GUARD_HUB") == "modelscope" else "huggingface"
    assert asked == [(values.get("GUARD_MODEL", "gen-0.6b"), ServeOptions("0.0.0.0", 8000, hub, 10240, "k"))]


@pytest.mark.parametrize("name", DOWNLOADS)
@pytest.mark.parametrize("values", MODELS)
def test_the_model_that_is_downloaded_is_the_one_that_is_served(
    name: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(hub_id: str, hub: Hub) -> Path:
        asked.append((hub_id, hub))
        return Path("/models")

    monkeypatch.setattr(hub_files, "fetch", fetch)
    result = CliRunner().invoke(cli.app, guard_command(name, values))
    assert result.exit_code == 0, result.output
    size = "8B" if values else "0.6B"
    assert asked == [(f"Qwen/Qwen3Guard-Gen-{size}", values.get("GUARD_HUB", "huggingface"))]
    assert "guard-models:/models" in SERVICES[name]["volumes"]


def test_the_demo_guard_is_never_a_default() -> None:
    assert not [match[0] for match in VARIABLE.finditer(TEXT) if (match[3] or "").startswith("demo")]
    assert example()["GUARD_MODEL"] == "gen-0.6b"


# ---- the hosts ----


def settings(name: str) -> dict[str, str]:
    """Our variables in a host's environment, those from secrets too."""
    values = {name: value or "x" for name, value in example().items()}
    environment = {**SERVICES[name]["environment"], **dict.fromkeys(secrets_of(name), "k")}
    return {name: filled_in(value, values) for name, value in environment.items() if name.startswith("QWEN3GUARD_")}


def test_the_pipelines_settings_are_valid_values_of_existing_valves(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = settings("pipelines")
    valves = {name.removeprefix("QWEN3GUARD_").lower() for name in ours}
    assert {"guard_base_url", "guard_api_key", "upstream_base_urls", "upstream_api_keys"} <= valves
    assert valves <= set(Valves.model_fields) | set(ModelsValves.model_fields)
    assert ours["QWEN3GUARD_GUARD_BASE_URL"] == "http://guard:8000/v1"
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    # Both read the same environment, so a variable that both have must have the same meaning in both.
    assert Valves().problems + ModelsValves().problems == []


def test_the_functions_settings_are_valid_values_of_existing_valves(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = settings("open-webui-functions")
    assert ours == {"QWEN3GUARD_GUARD_BASE_URL": "http://guard:8000/v1", "QWEN3GUARD_GUARD_API_KEY": "k"}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    valves = ModerationValves()
    assert (valves.guard_base_url, valves.guard_api_key, valves.problems) == ("http://guard:8000/v1", "k", [])


def test_the_image_installs_what_the_pipelines_require() -> None:
    command = re.search(r"^RUN (sed .*)\\\n\s*\| xargs pip install", DOCKERFILES["pipelines"], re.M)
    assert command
    script = command[1].replace("/app/dist", str(ROOT / "dist"))
    listed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    wanted = set()
    for file in (ROOT / "dist").glob("*.py"):
        for line in re.findall(r"^requirements: (.*)$", file.read_text(encoding="utf-8"), re.M):
            wanted |= {requirement.strip() for requirement in line.split(",")}
    assert set(listed) == wanted
    assert any(requirement.startswith("openai") for requirement in listed)


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A folder with what the Pipelines container has: /app/dist of the image, /app/pipelines of the volume."""
    copied = re.search(r"^COPY (dist/.+) /app/dist/$", DOCKERFILES["pipelines"], re.M)
    assert copied
    (tmp_path / "dist").mkdir()
    for source in copied[1].split():
        shutil.copy2(ROOT / source, tmp_path / "dist")
    (tmp_path / "pipelines").mkdir()
    # It reports with what it would have been started.
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def start_pipelines(container: Path) -> str:
    shell, flag, script = SERVICES["pipelines"]["command"]
    script = script.replace("$$", "$").replace("/app", str(container))
    environment = {"PATH": f"{container}:/usr/bin:/bin", "PIPELINES_DIR": str(container / "pipelines")}
    ran = subprocess.run([shell, flag, script], env=environment, capture_output=True, text=True, check=True)
    return ran.stdout


def test_the_pipelines_server_starts_as_in_the_tests_with_our_files_in_place(container: Path) -> None:
    valves = container / "pipelines/qwen3guard_filter/valves.json"
    valves.parent.mkdir()
    valves.write_text('{"mode": "monitor"}', encoding="utf-8")
    *copied, started = start_pipelines(container).splitlines()
    assert len(copied) == 3
    assert started == "-m uvicorn main:app --host 0.0.0.0 --port 9099"
    tested = (ROOT / "tests/stands/processes/pipelines_server.py").read_text(encoding="utf-8")
    assert '"-m", "uvicorn", "main:app"' in tested
    names = {file.name for file in container.glob("pipelines/*.py")}
    assert names == {"qwen3guard_filter.py", "qwen3guard_models.py", "qwen3guard_refusal.py"}
    assert valves.read_text(encoding="utf-8") == '{"mode": "monitor"}'
    assert re.findall(r"PIPELINES_DIR=(\S+)", DOCKERFILES["pipelines"]) == ["/app/pipelines"]
    assert "pipelines:/app/pipelines" in SERVICES["pipelines"]["volumes"]


def test_an_upgrade_replaces_older_files_and_keeps_newer_uploads(container: Path) -> None:
    start_pipelines(container)
    image, volume = container / "dist/qwen3guard_models.py", container / "pipelines/qwen3guard_models.py"
    os.utime(image, (2_000_000_000, 2_000_000_000))
    image.write_bytes(b"# the next version\n")
    os.utime(image, (2_000_000_000, 2_000_000_000))
    start_pipelines(container)
    assert volume.read_bytes() == b"# the next version\n"
    volume.write_bytes(b"# an admin's upload\n")
    os.utime(volume, (2_000_000_100, 2_000_000_100))
    assert len(start_pipelines(container).splitlines()) == 1
    assert volume.read_bytes() == b"# an admin's upload\n"
    os.utime(image, (2_000_000_200, 2_000_000_200))
    start_pipelines(container)
    assert volume.read_bytes() == b"# the next version\n"


def test_compose_starts_pipelines_as_the_image_does() -> None:
    command = re.search(r"^CMD (\[.*\])$", DOCKERFILES["pipelines"], re.M)
    assert command
    assert [word.replace("$$", "$") for word in SERVICES["pipelines"]["command"]] == json.loads(command[1])


def test_open_webui_waits_for_both_pipelines(tmp_path: Path) -> None:
    assert SERVICES["open-webui"]["depends_on"]["pipelines"]["condition"] == "service_healthy"
    check = SERVICES["pipelines"]["healthcheck"]["test"][-1]
    assert secrets_of("pipelines")["PIPELINES_API_KEY"]
    (tmp_path / "PIPELINES_API_KEY").write_text("k")
    (tmp_path / "curl").write_text('#!/bin/sh\n[ "$3" = "Authorization: Bearer k" ] && cat "$LISTED"\n')
    (tmp_path / "curl").chmod(0o755)

    def healthy(*names: str) -> bool:
        listed = tmp_path / "listed"
        listed.write_text(json.dumps({"data": [{"id": name, "name": name, "valves": True} for name in names]}))
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LISTED": str(listed)}
        command = check.replace("$$", "$").replace("/run/secrets", str(tmp_path))
        return subprocess.run(["sh", "-c", command], env=environment).returncode == 0

    assert healthy("qwen3guard_filter", "qwen3guard_models", "qwen3guard_refusal")
    assert not healthy("qwen3guard_filter", "qwen3guard_refusal")
    assert not healthy("qwen3guard_models", "qwen3guard_refusal")


def test_guarded_models_are_the_only_way_to_a_chat_model() -> None:
    pipelines, functions = (SERVICES[name]["environment"] for name in WEBUIS)
    for environment in (pipelines, functions):
        assert environment["ENABLE_OLLAMA_API"] == environment["ENABLE_DIRECT_CONNECTIONS"] == "false"
    assert pipelines["OPENAI_API_BASE_URLS"] == "http://pipelines:9099"
    # Without a grant, users have no model at all.
    assert functions["BYPASS_MODEL_ACCESS_CONTROL"] == "false"
    values = {"UPSTREAM_BASE_URL": "http://up/v1"}
    assert filled_in(functions["OPENAI_API_BASE_URLS"], values) == "http://up/v1"
    assert filled_in(SERVICES["pipelines"]["environment"]["QWEN3GUARD_UPSTREAM_BASE_URLS"], values) == "http://up/v1"
