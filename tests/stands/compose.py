"""docker-compose.yml and deploy/compose/workers.yml, read as far as Compose reads them before it starts anything."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
WORKERS = ROOT / "deploy/compose/workers.yml"
TEXT = COMPOSE.read_text(encoding="utf-8")
PROJECT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = PROJECT["services"]
GUARDS = ["guard-gpu", "guard-cpu"]
DOWNLOADS = ["guard-download", "guard-download-cpu"]
WEBUIS = ["open-webui", "open-webui-functions"]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
DOCKERFILES = {
    file.name.partition(".")[0]: file.read_text(encoding="utf-8") for file in ROOT.glob("deploy/*.Dockerfile")
}


def merged(base: Any, override: Any) -> Any:
    """As Compose joins two files, as far as ours need it: mappings by key, lists one after the other."""
    if isinstance(base, dict) and isinstance(override, dict):
        return {key: merged(base.get(key), override.get(key)) for key in {**base, **override}}
    if isinstance(base, list) and isinstance(override, list):
        return [*base, *override]
    return base if override is None else override


EXTENDED: dict[str, Any] = merged(PROJECT, yaml.safe_load(WORKERS.read_text(encoding="utf-8")))
ALL: dict[str, dict[str, Any]] = EXTENDED["services"]


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


def secrets_of(name: str) -> dict[str, str]:
    """The variables that the entrypoint makes of a service's secrets, and where each comes from."""
    return {secret["target"]: secret["source"] for secret in SERVICES[name].get("secrets", [])}
