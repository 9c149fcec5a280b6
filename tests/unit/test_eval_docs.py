"""Numbers in the guides agree with their source: published.json, a formula, or a report."""

import json
from pathlib import Path
from typing import get_args

import pytest

from guard_server.catalog import CONTEXT, MODELS
from guard_server.evaluation.data.hub_sets import SETS
from guard_server.evaluation.report.published import Scores, Table, published
from guard_server.serve.launch import GIB
from moderation.verdict import Kind

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "choosing-a-model.md").read_text()
GROUPS: list[tuple[Kind, str]] = [
    (task, language) for language in ("English", "Chinese", "multilingual") for task in get_args(Kind)
]
# Layers, query heads, hidden size, number of embedding matrices among the parameters.
SHAPES = {"0.6b": (28, 16, 1024, 2), "4b": (36, 32, 2560, 1), "8b": (36, 32, 4096, 2)}
VOCABULARY, HEAD = 151936, 128
OTHER_LANGUAGES = {"prompt": 30, "response": 8}
REACHED = 0.4
FLOPS = {"L4": 121e12, "H200": 989e12}
BYTES_PER_SECOND = {"L4": 0.3e12, "H200": 4.8e12}


def operations(size: str, new: int, cached: int) -> float:
    layers, heads, hidden, embeddings = SHAPES[size]
    parameters = MODELS[f"gen-{size}"].parameters - embeddings * VOCABULARY * hidden
    attention = 4 * layers * heads * HEAD * new * (cached + new / 2)
    return 2 * parameters * new + attention + 2 * VOCABULARY * hidden


def mean(table: Table, values: list[float]) -> float:
    weights = [1] * len(values)
    if table.language == "multilingual":
        weights[-1] = OTHER_LANGUAGES[table.task]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def cell(table: Table, row: Scores) -> str:
    return f"{row.average} ({mean(table, row.strict):.1f} / {mean(table, row.loose):.1f})"


@pytest.mark.parametrize("model", ["Gen-0.6B", "Gen-4B", "Gen-8B", "Stream-0.6B", "Stream-4B", "Stream-8B"])
def test_f1_is_as_published(model: str) -> None:
    cells = {
        (table.task, table.language): cell(table, row)
        for table in published().f1
        for row in table.rows
        if row.model == f"Qwen3Guard-{model}"
    }
    assert f"| {model} | {' | '.join(cells[group] for group in GROUPS)} |" in TEXT


@pytest.mark.parametrize("size", SHAPES)
def test_memory_follows_from_the_catalogue(size: str) -> None:
    model = MODELS[f"gen-{size}"]
    weights, one = model.parameters * 2 / GIB, model.kv_bytes_per_token * CONTEXT / GIB
    numbers = (weights, one, 3 * one, weights + 3 * one + 2.3)
    assert f"| `gen-{size}`, `stream-{size}` | {' | '.join(f'{number:.1f}' for number in numbers)} |" in TEXT


@pytest.mark.parametrize("size", SHAPES)
def test_verdicts_per_second_follow_from_the_formula(size: str) -> None:
    cost = operations(size, 300, 300)
    rates = [f"{REACHED * FLOPS[gpu] / cost:.0f}" for gpu in FLOPS]
    reads = [MODELS[f"gen-{size}"].parameters * 2 / BYTES_PER_SECOND[gpu] for gpu in FLOPS]
    alone = [1000 * max(cost / REACHED / FLOPS[gpu], read) for gpu, read in zip(FLOPS, reads, strict=True)]
    cells = [f"{cost / 1e9:.0f} GFLOP", *rates, *(f"{wait:.1f} ms" for wait in alone)]
    assert f"| `gen-{size}` | {' | '.join(cells)} |" in TEXT


@pytest.mark.parametrize("size", SHAPES)
def test_the_savings_of_stream_follow_from_the_formula(size: str) -> None:
    gen, stream = operations(size, 132, 800), operations(size, 32, 800)
    line = f"| {size.upper()} | {gen / 1e9:.0f} GFLOP | {stream / 1e9:.0f} GFLOP | {gen / stream:.1f} |"
    assert line in TEXT


@pytest.mark.parametrize(("size", "measured"), [("0.6b", 710), ("4b", 222), ("8b", 133)])
def test_measurements_on_a_gpu_are_compared_with_its_peak(size: str, measured: int) -> None:
    (line,) = (
        line for line in TEXT.splitlines() if line.startswith(f"| `gen-{size}` | H") and f"| {measured} |" in line
    )
    assert line.endswith(f"| {100 * measured * operations(size, 300, 300) / FLOPS['H200']:.0f} % |")


@pytest.mark.parametrize("guard", ["demo", "demo-stream"])
def test_the_demo_guards_figures_are_those_of_their_reports(guard: str) -> None:
    page, report = (DOCS / "eval/README.md").read_text(), json.loads((DOCS / f"eval/{guard}/report.json").read_text())
    for task, turns in (("prompt", "prompts"), ("response", "answers")):
        strict = report["tasks"][task]["strict"]
        area = "–" if strict["auc"] is None else f"{strict['auc']:.2f}"
        name = {"demo": "Gen", "demo-stream": "Stream"}[guard]
        assert f"| {name}, {turns} | {strict['f1']:.2f} | {strict['false_positive_rate']:.2f} | {area} |" in page
    assert f"{report['rows']:,} rows" in page


def test_every_known_data_set_is_in_the_guide() -> None:
    guide = (DOCS / "evaluation.md").read_text()
    assert all(f"`{name}`" in guide for name in SETS)


def test_refusals_and_latencies_are_as_published() -> None:
    refusals, latencies = published().refusal, published().latency
    found = ", ".join(f"{row.xstest[1]}" for row in refusals[:2]) + f" and {refusals[2].xstest[1]} %"
    assert found in TEXT
    hits = [row.response_loc.exact_hit for row in latencies]
    assert f"{hits[0]:.1f}, {hits[1]:.1f} and {hits[2]:.1f} % of unsafe answers" in TEXT
    late = [row.thinking_loc.within_128 for row in latencies]
    assert f"{late[0]:.1f}, {late[1]:.1f} and {late[2]:.1f} %" in TEXT
