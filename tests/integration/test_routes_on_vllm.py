"""vLLM's server has our routes only if VLLM_PLUGINS names them; its own app is built each time, without an engine."""

import json

import pytest

from guard_server.vllm_plugin import MODEL, MODERATION_ENDPOINTS, STREAM_ENDPOINTS
from tests.stands.processes import guard_environment

_BUILD = """
import json, os, sys
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

args = make_arg_parser(FlexibleArgumentParser()).parse_args([])
found = []
for plugins, task in json.loads(sys.argv[1]):
    os.environ.pop("VLLM_PLUGINS", None)
    if plugins is not None:
        os.environ["VLLM_PLUGINS"] = plugins
    app = build_app(args, (task,))
    found.append(sorted({getattr(route, "path", "") for route in app.router.routes}))
print(json.dumps(found))
"""
GEN = {"/v1/moderations", "/v1/dify/moderation", "/v1/guard/verdicts"}
STREAM = {"/v1/guard/stream", "/v1/guard/stream/{id}"}
SETTINGS: list[tuple[str | None, str, set[str]]] = [
    (None, "generate", set()),
    ("", "generate", set()),
    (MODEL, "generate", set()),
    (STREAM_ENDPOINTS, "generate", set()),
    (MODERATION_ENDPOINTS, "generate", GEN),
    (None, "token_classify", set()),
    (MODEL, "token_classify", set()),
    (MODERATION_ENDPOINTS, "token_classify", set()),
    (f"{MODEL},{STREAM_ENDPOINTS}", "token_classify", STREAM),
]


@pytest.fixture(scope="module")
def paths() -> list[set[str]]:
    asked = json.dumps([(plugins, task) for plugins, task, _ in SETTINGS])
    return [set(found) for found in json.loads(guard_environment.run("-c", _BUILD, asked).splitlines()[-1])]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_our_routes_exist_only_if_their_plugin_is_named(paths: list[set[str]], number: int) -> None:
    plugins, task, expected = SETTINGS[number]
    assert paths[number] & (GEN | STREAM) == expected, (plugins, task)
    assert "/v1/models" in paths[number]
