"""The six published models, but with random weights: `serve` starts them, `doctor` and clients use them.

Config, sizes, vocabulary and the grammar of verdicts are real. Most layers of the larger models are left out: all
layers of a model run the same code. See `tests.stands.checkpoints.cut_checkpoint`.
"""

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import httpx
import pytest

from guard_server.catalog import CONTEXT
from tests.stands.checkpoints.published_configs import NAMES, config
from tests.stands.processes import guard_environment
from tests.stands.processes.doctor_process import doctor
from tests.stands.processes.guard_process import GuardProcess, guard_process
from tests.stands.waiting import PATIENCE

# Of 28, 36 and 36 layers.
LAYERS = {"0.6b": 28, "4b": 2, "8b": 2}
# Complete models. The others have the same parts in other sizes: `make test-models` serves all six.
ONE_OF_EACH_KIND = ("gen-0.6b", "stream-0.6b")
# The checks of `doctor` that must pass with any weights. The time of a verdict depends on the machine.
EVERY = {"reachable", "key", "model", "context", "prefix cache", "version of vLLM"}
STRUCTURE = {
    "gen": EVERY | {"template", "one-token verdicts", "moderations endpoint"},
    "stream": EVERY | {"stream endpoint"},
}
UNFIT_FOR_STREAM = {"template", "one-token verdicts", "moderations endpoint"}
PROMPT = {"role": "user", "content": "How do I bake bread?"}


class Served:
    """A server with one of the six."""

    def __init__(self, name: str, process: GuardProcess) -> None:
        self.name = name
        self.kind = name.split("-")[0]
        self.process = process
        report = json.loads(doctor(process.url, "", "--json").stdout)
        self.findings: dict[str, dict[str, Any]] = {finding["check"]: finding for finding in report["findings"]}

    def post(self, url: str, body: dict[str, Any]) -> Any:
        reply = httpx.post(url, json=body, timeout=PATIENCE, trust_env=False)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen's own vocabulary, which is in this package: see `tests.stands.checkpoints.cut_checkpoint`."""
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = distribution("dashscope").locate_file("dashscope/resources/qwen.tiktoken")
    guard_environment.run("-m", "tests.stands.checkpoints.cut_checkpoint", "tokenizer", str(vocabulary), str(folder))
    return folder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = NAMES if metafunc.config.getoption("--all-models") else ONE_OF_EACH_KIND
    metafunc.parametrize("served", names, indirect=True)


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    name = request.param
    layers = LAYERS[name.split("-")[1]]
    folder = tmp_path_factory.mktemp("models") / f"Qwen3Guard-{name}"
    guard_environment.run(
        "-m", "tests.stands.checkpoints.cut_checkpoint", name, str(layers), str(tokenizer), str(folder)
    )
    try:
        # Compiling kernels would take one minute more each. Two GiB are one conversation of full length; `serve`
        # itself would take the memory that is free at its start, and other tests' guards start at the same time.
        with guard_process(str(folder), "--enforce-eager", env={"VLLM_CPU_KVCACHE_SPACE": "2"}) as process:
            process.wait_for("Try it:")
            yield Served(name, process)
    finally:
        # These are gigabytes, and pytest would keep them.
        shutil.rmtree(folder)


def test_doctor_finds_no_fault_in_the_endpoint(served: Served) -> None:
    fine = {check for check, finding in served.findings.items() if finding["level"] == "ok"}
    assert fine >= STRUCTURE[served.kind], served.findings
    about_endpoint = {check: finding for check, finding in served.findings.items() if finding["about"] == "endpoint"}
    assert STRUCTURE[served.kind] < set(about_endpoint)
    assert "failure" not in {finding["level"] for finding in about_endpoint.values()}
    if served.kind == "stream":
        not_checked = {check for check, finding in served.findings.items() if finding["level"] == "not checked"}
        assert not_checked == UNFIT_FOR_STREAM


def test_doctor_distinguishes_random_weights_from_a_guard(served: Served) -> None:
    verdicts = {check: finding for check, finding in served.findings.items() if finding["about"] == "verdicts"}
    assert set(verdicts) == {"bomb prompt", "refusal"}
    assert "failure" in {finding["level"] for finding in verdicts.values()}


def test_the_context_is_that_of_the_article_or_of_the_checkpoint(served: Served) -> None:
    tokens = min(CONTEXT, config(served.name)["max_position_embeddings"])
    assert served.findings["context"]["found"] == f"{tokens} tokens"


def test_the_vocabulary_is_the_published_one(served: Served) -> None:
    """The labels have the ids of Qwen's tokenizer: see docs/guard-server.md."""
    for label, token in (("Safe", 22291), ("Controversial", 2093), ("Unsafe", 73067)):
        body = {"prompt": f"Safety: {label}", "add_special_tokens": False}
        assert served.post(f"{served.process.root}/tokenize", body)["tokens"][2] == token
    body = {"prompt": "<|endoftext|><|im_start|><|im_end|><think></think>", "add_special_tokens": False}
    assert served.post(f"{served.process.root}/tokenize", body)["tokens"] == [151643, 151644, 151645, 151667, 151668]


def test_its_endpoint_answers(served: Served) -> None:
    if served.kind == "stream":
        body = {"messages": [PROMPT], "text": "Mix flour, water, salt and yeast, and wait.", "end": True}
        reply = served.post(f"{served.process.url}/guard/stream", body)
        assert reply["final"]
        assert reply["tokens"] > 1
        # The sum of three numbers, each rounded to six digits.
        assert sum(reply["prompt"]["probabilities"].values()) == pytest.approx(1, abs=2e-6)
    else:
        (result,) = served.post(f"{served.process.url}/moderations", {"input": PROMPT["content"]})["results"]
        assert result["severity"] == "Safe"
        body = {"messages": [PROMPT], "temperature": 0}
        said = served.post(f"{served.process.url}/chat/completions", body)["choices"][0]["message"]["content"]
        assert said == "Safety: Safe\nCategories:None"
