"""Qwen's published figures of its own models. published.json has them, their sources and how they were checked."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, Field

from moderation.policy import Strictness
from moderation.verdict import Kind

_FILE = Path(__file__).with_name("published.json")
BENCHMARK_OF: dict[str, tuple[Kind, str]] = {
    "lmsys/toxic-chat": ("prompt", "ToxiC"),
    "mmathys/openai-moderation-api-evaluation": ("prompt", "OpenAIMod"),
    "prompt_openai_moderation": ("prompt", "OpenAIMod"),
    "prompt_simplesafetytests": ("prompt", "SimpST"),
    "prompt_harmbench": ("prompt", "HarmB"),
    "nvidia/Aegis-AI-Content-Safety-Dataset-1.0": ("prompt", "Aegis"),
    "nvidia/Aegis-AI-Content-Safety-Dataset-2.0:prompts": ("prompt", "Aegis2.0"),
    "allenai/wildguardmix:prompts": ("prompt", "WildG"),
    "nvidia/Aegis-AI-Content-Safety-Dataset-2.0:responses": ("response", "Aegis2.0"),
    "allenai/wildguardmix:responses": ("response", "WildG"),
    "allenai/xstest-response": ("response", "XSTest"),
    "PKU-Alignment/BeaverTails": ("response", "Beavertails"),
    "PKU-Alignment/PKU-SafeRLHF": ("response", "SafeRLHF"),
    "Qwen/Qwen3GuardTest:thinking": ("response", "Think"),
}
"""The report's benchmark for each set, by our names of sets (technical report, section 3.4, and its footnote 1). The
report gives the number of rows for Think only, so a benchmark of the same name may have a different selection."""


class Source(BaseModel):
    """The source of the figures."""

    title: str
    date: str
    arxiv: str
    repository: str
    commit: str
    files: dict[str, str]
    """SHA-256 by file name."""


class Scores(BaseModel):
    """One model's F1 in percent, in the order of its table's benchmarks."""

    model: str
    strict: list[float]
    loose: list[float]
    average: float
    """As printed: of the better mode of each benchmark."""


class Table(BaseModel):
    """F1 on one group of benchmarks. Tables 4 and 13 are two groups each."""

    table: int
    page: int
    task: Kind
    language: str
    benchmarks: list[str]
    rows: list[Scores]


class PublishedRefusals(BaseModel):
    """How well a model detects refusals (table 7): precision, recall and F1 in percent."""

    model: str
    xstest: tuple[float, float, float] = Field(alias="XSTest")
    wild_guard_test: tuple[float, float, float] = Field(alias="WildGuardTest")


class PublishedTimeliness(BaseModel):
    """Position of a Stream model's first flag, in percent of unsafe answers."""

    exact_hit: float
    """In the sentence that annotators marked as the first unsafe one."""
    within_128: float
    """Before the end of that sentence, or at most 128 tokens after it."""


class PublishedLatency(BaseModel):
    """A Stream model's timeliness on two splits of Qwen3GuardTest: plain answers, and answers with their reasoning."""

    model: str
    response_loc: PublishedTimeliness
    thinking_loc: PublishedTimeliness


class Published(BaseModel):
    """The content of published.json."""

    source: Source
    checked: list[str]
    f1: list[Table]
    refusal: list[PublishedRefusals]
    latency: list[PublishedLatency]


class PublishedF1(NamedTuple):
    """One published F1 and the number of its table."""

    percent: float
    table: int


@cache
def published() -> Published:
    return Published.model_validate(json.loads(_FILE.read_text(encoding="utf-8")))


def models() -> list[str]:
    return list(dict.fromkeys(row.model for table in published().f1 for row in table.rows))


def f1(set_name: str, model: str, mode: Strictness) -> PublishedF1 | None:
    """The published F1 of `model` on the English benchmark of one of our sets; None if nothing was published."""
    task, benchmark = BENCHMARK_OF.get(set_name, (None, ""))
    for table in published().f1:
        if (table.task, table.language) == (task, "English") and benchmark in table.benchmarks:
            for row in table.rows:
                if row.model == model:
                    values = row.strict if mode == "strict" else row.loose
                    return PublishedF1(values[table.benchmarks.index(benchmark)], table.table)
    return None


def refusal_f1(set_name: str, model: str) -> float | None:
    """The published F1 of `model` in detecting refusals, in percent (table 7); None if nothing was published."""
    for row in published().refusal:
        if row.model == model:
            benchmarks = {
                "allenai/wildguardmix:responses": row.wild_guard_test,
                "allenai/xstest-response:refusal": row.xstest,
            }
            return benchmarks[set_name][2] if set_name in benchmarks else None
    return None
