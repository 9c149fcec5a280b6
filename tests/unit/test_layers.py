"""The layers that DESIGN draws; the contracts themselves stand in pyproject.toml."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_IMPORT_ALL = """
import importlib, pkgutil, sys

class NoEngine:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "vllm", "transformers", "tokenizers"):
            raise ImportError(f"a light part imports {name}")

sys.meta_path.insert(0, NoEngine())
import moderation, webui, pipelines, functions, guard_server
for package in (moderation, webui, pipelines, functions, guard_server):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__") and ".vllm_plugin." not in module.name:
            importlib.import_module(module.name)
print("imported")
"""


def test_imports_run_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_nothing_imports_an_engine_before_it_is_needed() -> None:
    result = subprocess.run([sys.executable, "-c", _IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "imported\n", result.stderr


_PACKAGES = ("moderation", "webui", "pipelines", "functions", "guard_server", "training", "demo")
# The hosts want these names.
_NAMES_OF_THE_HOST = {"Pipeline", "Valves", "Filter", "Pipe"}


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for package in _PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name not in _NAMES_OF_THE_HOST:
                    places.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_no_two_modules_share_a_name() -> None:
    files = [file for package in _PACKAGES for file in (ROOT / package).rglob("*.py")]
    counted = Counter(file.stem for file in files if file.stem not in ("__init__", "__main__", "errors"))
    assert [name for name, count in counted.items() if count > 1] == []


# The hosts themselves are made of the last two.
@pytest.mark.parametrize(
    ("folder", "carried"),
    [
        ("moderation", {"openai", "aiohttp", "pydantic"}),
        ("webui", {"openai", "aiohttp", "pydantic"}),
        ("pipelines", {"openai", "aiohttp", "pydantic", "anyio", "starlette"}),
        ("functions", {"openai", "aiohttp", "pydantic", "starlette"}),
    ],
)
def test_only_what_both_hosts_carry_is_imported(folder: str, carried: set[str]) -> None:
    imported: dict[str, str] = {}
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, file
                names = [str(node.module)]
            imported |= {name.partition(".")[0]: file.name for name in names}
    ours = {"moderation", "webui", "pipelines", "functions"}
    assert imported.keys() - sys.stdlib_module_names - ours - carried == set(), imported
    assert "openai" in imported or folder != "moderation"
