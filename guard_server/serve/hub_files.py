"""Gets a model's files from a hub, into the folder in which the hub's own client keeps them."""

import importlib
import os
from pathlib import Path

from guard_server.catalog import Hub
from guard_server.errors import HubUnreachable, UnknownModel
from guard_server.serve.pip_commands import install_extra


def fetch(hub_id: str, hub: Hub, patterns: list[str] | None = None) -> Path:
    """The folder with the files of `hub_id` that match one of `patterns`; with all files if there are no patterns.

    With HF_HUB_OFFLINE only what was downloaded before, from either hub: vLLM reads the variable in the same way.

    Raises:
        UnknownModel, HubUnreachable: see errors.py.
    """
    package = "huggingface_hub" if hub == "huggingface" else "modelscope"
    try:
        client = importlib.import_module(package)
    except ImportError as error:
        # vLLM requires the other client, so only this one needs an extra.
        remedy = install_extra("modelscope") if hub == "modelscope" else "pip install huggingface_hub"
        raise HubUnreachable(f"{package} is not installed.", remedy) from error
    try:
        return Path(client.snapshot_download(hub_id, allow_patterns=patterns, local_files_only=offline()))
    except Exception as error:  # Both clients raise HTTP libraries' errors, which differ between versions.
        raise _hub_error(hub_id, hub, error) from error


def offline() -> bool:
    """Whether no hub may be asked: the words are those that huggingface_hub takes for yes."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _hub_error(hub_id: str, hub: Hub, error: Exception) -> UnknownModel | HubUnreachable:
    cause = " ".join(str(error).split())[:300]
    if offline():
        remedy = f"Download it where there is a network (qwen3guard download {hub_id}), or unset HF_HUB_OFFLINE."
        return HubUnreachable(f"HF_HUB_OFFLINE is set, and {hub_id} was not downloaded before: {cause}", remedy)
    if type(error).__name__ in ("RepositoryNotFoundError", "GatedRepoError", "NotExistError", "HFValidationError"):
        remedy = "Check its name; a private or gated model needs a token (HF_TOKEN, or MODELSCOPE_API_TOKEN)."
        return UnknownModel(f"{hub} has no model {hub_id} that you can access: {cause}", remedy)
    if hub == "huggingface":
        other, mirror = "modelscope", f"HF_ENDPOINT, now {os.environ.get('HF_ENDPOINT', 'not set')}"
    else:
        other, mirror = "huggingface", f"MODELSCOPE_DOMAIN, now {os.environ.get('MODELSCOPE_DOMAIN', 'not set')}"
    remedy = (
        f"Check the network, its proxy (HTTPS_PROXY) and mirror ({mirror}), try --hub {other}, or name a folder "
        "with the model. To see everything work without a download: qwen3guard serve demo "
        "(not for production)."
    )
    return HubUnreachable(f"{hub} could not be reached for {hub_id}, and no copy is on this machine: {cause}", remedy)
