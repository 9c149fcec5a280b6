"""Reads the config of a Qwen3Guard-Stream checkpoint, with any `model_type`."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, Qwen3Config
from vllm.transformers_utils.config import get_config_parser, register_config_parser
from vllm.transformers_utils.config_parser_base import ConfigParserBase

from guard_server.vllm_plugin import CONFIG_FORMAT


class GuardConfigParser(ConfigParserBase):  # type: ignore[misc]  # vLLM is not typed here
    """Reads config.json as Qwen3's: a guard is a Qwen3 with heads.

    transformers would use `model_type`, and run the checkpoint's own code if it does not know that type.
    """

    @classmethod
    def register(cls) -> None:
        """Register it as vLLM's parser for --config-format. A second call has no effect."""
        try:
            get_config_parser(CONFIG_FORMAT)
        except ValueError:
            register_config_parser(CONFIG_FORMAT)(cls)

    def parse(
        self,
        model: str | Path,
        trust_remote_code: bool,
        revision: str | None = None,
        code_revision: str | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], PreTrainedConfig]:
        found, _ = PreTrainedConfig.get_config_dict(str(model), revision=revision)
        fields = {name: value for name, value in found.items() if name not in ("auto_map", "model_type")}
        return found, Qwen3Config(name_or_path=str(model), **fields)
