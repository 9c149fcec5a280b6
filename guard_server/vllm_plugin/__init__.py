"""Qwen3Guard-Stream for vLLM: a model, the format of its config, and the routes of this project.

All of it is registered through vLLM's official plugin groups, in pyproject.toml. vLLM loads plugins in each of its
processes, some of them more than once. Nothing here may import vLLM at module level.
"""

MODEL = "qwen3guard_model"
STREAM_ENDPOINTS = "qwen3guard_stream"
MODERATION_ENDPOINTS = "qwen3guard_moderation"
"""Names for VLLM_PLUGINS: vLLM loads only the routes that it names."""

CONFIG_FORMAT = "qwen3guard"
"""For vLLM's --config-format."""


def register() -> None:
    """Register the architecture and the config format with vLLM. May be called more than once."""
    from vllm import ModelRegistry

    from guard_server.vllm_plugin.config import GuardConfigParser

    # By name, so that a server of another model never imports ours.
    if "Qwen3ForGuardModel" not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model("Qwen3ForGuardModel", "guard_server.vllm_plugin.model:Qwen3ForGuardModel")
    GuardConfigParser.register()
