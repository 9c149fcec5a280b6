"""LiteLLM's real proxy with our guardrail, as a user starts it: `litellm --config FILE`."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from demo.state import ROOT
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE

KEY = "sk-7d4c1f0a9be24b5f8c3de6a172905b48"
"""LiteLLM refuses to start with a key that is known to be an example."""
MODEL = "chat"
_START_SECONDS = 600


class LitellmProxy:
    """One run. Its log is `log`."""

    def __init__(self, folder: Path, guardrail: dict[str, Any], upstream_url: str, guardrail_key: str) -> None:
        program = Path(os.environ.get("LITELLM_PYTHON", ROOT / ".venvs/litellm/bin/python")).with_name("litellm")
        assert program.exists(), f"{program} is missing. Run `make env-newest`, or set LITELLM_PYTHON."
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._log = folder / "litellm.log"
        upstream = {"model": "openai/stub", "api_base": upstream_url, "api_key": "none"}
        parameters = {"guardrail": "generic_guardrail_api", "default_on": True, **guardrail}
        config = {
            "model_list": [{"model_name": MODEL, "litellm_params": upstream}],
            "guardrails": [{"guardrail_name": "qwen3guard", "litellm_params": parameters}],
        }
        # YAML reads JSON.
        file = folder / "litellm.yaml"
        file.write_text(json.dumps(config), encoding="utf-8")
        variables = {
            "LITELLM_MASTER_KEY": KEY,
            "MODERATION_API_KEY": guardrail_key,
            # Without it LiteLLM fetches a list of prices from the net.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                [program, "--config", file, "--host", "127.0.0.1", "--port", str(port)],
                cwd=folder,
                env=os.environ | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self.process.poll() is None, self.log
            try:
                httpx.get(f"{self.url}/health/liveliness", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.2)
            else:
                return


@contextmanager
def litellm_proxy(
    folder: Path, guardrail: dict[str, Any], upstream_url: str, guardrail_key: str
) -> Iterator[LitellmProxy]:
    """A proxy with one model, whose requests and answers `guardrail` checks.

    Args:
        folder: for its configuration and its log.
        guardrail: LiteLLM's parameters of the guardrail, as docs/api.md gives them.
        upstream_url: the model's address.
        guardrail_key: the value of MODERATION_API_KEY.
    """
    proxy = LitellmProxy(folder, guardrail, upstream_url, guardrail_key)
    try:
        proxy.wait_until_ready()
        yield proxy
    finally:
        proxy.process.terminate()
        try:
            proxy.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            proxy.process.kill()
            proxy.process.wait()
