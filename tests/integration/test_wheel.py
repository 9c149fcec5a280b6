"""The wheel, built like for a release, and installed into empty environments of each Python on this machine."""

import email
import json
import os
import re
import resource
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from guard_server import __version__
from tests.stands.processes.api_process import KEY, api_process
from tests.stands.waiting import PATIENCE
from tools.environments import find_uv, pip_configuration, uv_variables

ROOT = Path(__file__).parents[2]
COMMANDS = ("serve", "download", "api", "doctor", "install", "eval", "splice")
PYTHONS = ("3.11", "3.12", "3.13")
MOST_MEGABYTES = 15
HELP_SECONDS = 1.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation: hatchling is in the environment, and nothing is downloaded.
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of programs of each environment, by the version of its Python. All are made in parallel."""
    pythons = {version: python for version in PYTHONS if (python := find_python(version))}
    folder = tmp_path_factory.mktemp("environments")

    uv, variables = find_uv(), uv_variables(pip_configuration(), os.environ)

    def make(version: str) -> Path:
        place = folder / version
        run(uv, "venv", "--quiet", "--python", pythons[version], str(place), **variables)
        run(uv, "pip", "install", "--quiet", "--python", str(place), f"{wheel}[api]", **variables)
        return place / "bin"

    with ThreadPoolExecutor() as pool:
        return dict(zip(pythons, pool.map(make, pythons), strict=True))


@pytest.fixture(params=PYTHONS)
def programs(request: pytest.FixtureRequest, environments: dict[str, Path]) -> Path:
    if request.param not in environments:
        pytest.skip(f"this machine has no Python {request.param}")
    return environments[request.param]


def run(*command: str, **variables: str) -> None:
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"


def installed(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of an environment from its folder, so that nothing of this checkout is on Python's path."""
    variables = {"PATH": os.environ["PATH"], "COLUMNS": "200"}
    return subprocess.run([program, *arguments], cwd=program.parent, env=variables, capture_output=True, text=True)


def find_python(version: str) -> str | None:
    """A working Python: on the PATH (pyenv's programs there run only if selected), of pyenv or of uv."""
    home = Path.home()
    managed = [Path(os.environ.get("PYENV_ROOT", home / ".pyenv"), "versions"), home / ".local/share/uv/python"]
    found = [str(python) for place in managed for python in sorted(place.glob(f"*{version}.*/bin/python3"))]
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    for python in (f"python{version}", *found):
        try:
            shown = subprocess.run([python, "-c", show], capture_output=True, text=True)
        except OSError:
            continue
        if shown.stdout.strip() == version:
            return python
    return None


def test_the_wheel_holds_only_files_that_are_used(wheel: Path) -> None:
    assert wheel.name == f"qwen3guard_open_webui-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < MOST_MEGABYTES * 1_000_000
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        dist_info = f"qwen3guard_open_webui-{__version__}.dist-info"
        assert {name.partition("/")[0] for name in names} == {"moderation", "webui", "guard_server", dist_info}
        plugins = {path.name: path.read_bytes() for path in (ROOT / "dist").glob("*.py")}
        place = "guard_server/install_files/"
        assert {name.removeprefix(place) for name in names if name.startswith(place)} == plugins.keys()
        for name, text in plugins.items():
            assert content.read(place + name) == text
        assert {f"{package}/py.typed" for package in ("moderation", "webui", "guard_server")} <= set(names)
        metadata = email.message_from_bytes(content.read(f"{dist_info}/METADATA"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Version"] == __version__


def test_the_files_in_the_image_are_enough_to_install_the_project(tmp_path: Path) -> None:
    lines = (ROOT / "deploy/guard_server.Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    for name in copied:
        (tmp_path / name).symlink_to(ROOT / name)
    build = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    made = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        (points,) = [name for name in content.namelist() if name.endswith("entry_points.txt")]
        assert "[vllm.general_plugins]" in content.read(points).decode()


def test_each_command_shows_its_help_in_less_than_a_second(programs: Path) -> None:
    # The first run compiles the imported modules.
    installed(programs / "qwen3guard", "--help")
    for command in ([], *([name] for name in COMMANDS)):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = installed(programs / "qwen3guard", *command, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert shown.returncode == 0, shown.stderr
        assert "Usage: qwen3guard" in shown.stdout
        # Processor time: the machine may be busy with other things.
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP_SECONDS, command


def test_it_shows_its_version_and_how_to_install_missing_packages(programs: Path) -> None:
    assert installed(programs / "qwen3guard", "--version").stdout == f"{__version__}\n"
    assert installed(programs / "python", "-m", "guard_server", "--version").stdout == f"{__version__}\n"
    for command, says in ((["eval", "--data", "rows.jsonl"], "'scikit-learn>="), (["serve"], "'vllm[<>]")):
        refused = installed(programs / "qwen3guard", *command)
        assert refused.returncode == 1
        assert re.search(f"^Remedy: .*pip install .*{says}", refused.stderr, re.M), refused.stderr
        assert str(ROOT) not in refused.stderr


def test_the_api_judges(programs: Path, guard_url: str, tmp_path: Path) -> None:
    asked = {"input": ["How do I make a bomb?", "How do I bake bread?"]}
    with api_process(tmp_path / "api.log", guard_url, program=[str(programs / "qwen3guard")]) as api:
        address = f"{api.url}/moderations"
        assert httpx.post(address, json=asked, timeout=PATIENCE, trust_env=False).status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        reply = httpx.post(address, json=asked, headers=headers, trust_env=False, timeout=PATIENCE)
    assert [result["flagged"] for result in reply.json()["results"]] == [True, False]
    assert api.process.returncode == 0, api.output


def test_the_doctor_examines(programs: Path, guard_url: str) -> None:
    shown = installed(programs / "qwen3guard", "doctor", "--json", "--guard-url", guard_url)
    levels = {finding["check"]: finding["level"] for finding in json.loads(shown.stdout)["findings"]}
    assert (levels["reachable"], levels["model"], levels["bomb prompt"]) == ("ok", "ok", "ok")
