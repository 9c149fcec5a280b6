"""A Function whose file fails to load is switched off for good, so loading must need nothing and do nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stands.functions import load_function
from tools.bundle import build

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("qwen3guard_function_filter", "qwen3guard_function_models")

_LOAD = """
import sys, threading, types

class NotThere:
    names = ("open_webui", "moderation", "webui", "functions", "pipelines", "guard_server")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not there")

import aiohttp, openai, pydantic, starlette.exceptions
sys.meta_path.insert(0, NotThere())

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "subprocess.Popen", "os.mkdir", "os.remove"):
        raise RuntimeError(f"loading does {event} {arguments}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise RuntimeError(f"loading writes {arguments}")

def start(thread):
    raise RuntimeError(f"loading starts {thread}")

text = open(sys.argv[1], encoding="utf-8").read()
module = types.ModuleType("function_x")
sys.modules["function_x"] = module
sys.dont_write_bytecode = True
threading.Thread.start = start
sys.addaudithook(watch)
exec(compile(text, "function_x", "exec"), module.__dict__)
made = (module.Pipe if hasattr(module, "Pipe") else module.Filter)()
assert made.valves.guard_base_url
assert not [name for name in sys.modules if name.startswith("open_webui")]
print("loaded", made.Valves().problems)
"""


@pytest.mark.parametrize("plugin", FUNCTIONS)
def test_loading_needs_no_network_no_disk_no_thread_and_no_further_package(plugin: str, tmp_path: Path) -> None:
    file = tmp_path / f"{plugin}.py"
    file.write_text(build(plugin), encoding="utf-8")
    command = [sys.executable, "-c", _LOAD, str(file)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "loaded []\n", result.stderr


@pytest.mark.parametrize("plugin", FUNCTIONS)
def test_open_webui_reads_the_header_and_installs_nothing(plugin: str) -> None:
    lines = build(plugin).splitlines()
    assert lines[0] == '"""'
    header = lines[1 : lines.index('"""', 1)]
    assert [line.partition(":")[0] for line in header] == ["title", "description", "version"]


@pytest.mark.parametrize("plugin", FUNCTIONS)
def test_open_webui_changes_nothing_in_the_file(plugin: str) -> None:
    assert not [words for words in ("from utils", "from apps", "from main", "from config") if words in build(plugin)]
    # It formats what is saved, on its event loop, unless the file asks it not to.
    assert "\n# fmt: off\n" in build(plugin)[:1000]


@pytest.mark.parametrize("plugin", FUNCTIONS)
def test_no_user_can_switch_it_off(plugin: str) -> None:
    assert not hasattr(load_function(plugin), "toggle")


@pytest.mark.parametrize("plugin", FUNCTIONS)
def test_the_page_can_draw_every_valve_and_hides_secrets(plugin: str) -> None:
    for name, spec in load_function(plugin).Valves.model_json_schema()["properties"].items():
        assert spec["type"] in ("string", "integer", "number", "boolean"), name
        assert spec["default"] not in ("", []), name
        assert spec["description"], name
        assert ("key" in name.split("_")) == (spec.get("input") == {"type": "password"}), name


@pytest.mark.parametrize("value", [None, "", "rubbish", -1, 1e99, [], {}, ["x"], {"a": 1}, True, "\ud800", "9" * 99])
@pytest.mark.parametrize("plugin", FUNCTIONS)
def test_no_stored_value_of_any_valve_raises(plugin: str, value: object) -> None:
    """Open WebUI would refuse every request with the error's text."""
    valves = load_function(plugin).Valves
    for name in valves.model_fields:
        assert valves(**valves(**{name: value}).model_dump()).problems == []
