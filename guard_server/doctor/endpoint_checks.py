"""Checks of the server: is it there, which kind is it, which model does it serve, and how long a context has it."""

import re
import time
from urllib.parse import urlsplit

from guard_server import catalog
from guard_server.doctor.examined_endpoint import HARMLESS, ExaminedEndpoint
from guard_server.doctor.findings import SERVE, Failed, Fatal, Notable
from moderation.endpoint.problems import redirected
from moderation.errors import EndpointError
from moderation.guard import DEFAULT_CONTEXT_TOKENS

_SUPPORTED_VLLM = ((0, 32), (0, 34))
"""From the first (inclusive) to the second (exclusive): the extra `gpu` of pyproject.toml."""

# With a smaller context, of which the template takes 600 tokens, each longer message is split into many windows.
_SMALL_CONTEXT = 2048
# By the value of `owned_by` in the list of models: the server's name, and its option for a longer context.
_SERVERS = {
    "vllm": ("vLLM", "--max-model-len"),
    "sglang": ("SGLang", "--context-length"),
    "llamacpp": ("llama.cpp", "--ctx-size"),
    "library": ("Ollama", "OLLAMA_CONTEXT_LENGTH, or num_ctx of the model"),
    "organization_owner": ("LM Studio", "the context length with which the model is loaded"),
}


async def reachable(examined: ExaminedEndpoint) -> str:
    started = time.monotonic()
    reply = await examined.server.get("/models")
    milliseconds = (time.monotonic() - started) * 1000
    examined.listing = reply
    return f"answered in {milliseconds:.0f} ms"


async def key(examined: ExaminedEndpoint) -> str:
    if examined.listing.status in (401, 403):
        given = "this key" if examined.server.key else "requests without a key"
        raise Fatal(
            f"the server refuses {given} ({examined.listing.status})",
            "Give the key that the guard was started with: --guard-key, or GUARD_API_KEY.",
        )
    if examined.server.key and (await examined.server.get("/models", key=False)).status in (401, 403):
        return "needed, and this one is right"
    host = urlsplit(examined.server.url).hostname or ""
    if host not in ("localhost", "127.0.0.1", "::1"):
        raise Notable(
            "not required: anyone who can reach this address can use the guard",
            "Start it with --api-key, or keep its port inside a private network.",
        )
    return "not required"


async def is_qwen3guard(examined: ExaminedEndpoint) -> str:
    listing = examined.listing
    if listing.status // 100 == 3:
        url = examined.server.url
        found = examined.server.without_key(redirected(listing.location, f"{url}/models", url))
        raise Fatal(
            found, "Name that address with --guard-url, and in the filter's valves, without /models at its end."
        )
    if not listing.models and examined.wanted == "auto":
        hint = "" if examined.server.url.endswith("/v1") else f" Most servers want {examined.server.url}/v1."
        raise Fatal(
            f"/models answered {listing.status} with {listing.excerpt}, not a list of models",
            f"Check --guard-url: this is no OpenAI-compatible API.{hint}",
        )
    try:
        await examined.endpoint.learn()
    except EndpointError as error:
        raise Fatal(str(error), "Name a model that the server has: --model") from None
    if examined.streams:
        return _known(examined.model, "offers streams like Qwen3Guard-Stream")
    names = ", ".join(model.id for model in listing.models or ())
    try:
        verdict, said = await examined.full_verdict(HARMLESS)
    except Failed as failed:
        raise Fatal(failed.found, f"{failed.remedy} The server lists these models: {names}.") from None
    if not verdict.reached:
        raise Fatal(
            f"{examined.model} answers {said[:60]!r}, which is no verdict of Qwen3Guard-Gen",
            f"Serve a Qwen3Guard-Gen there, or name it with --model. {SERVE}",
        )
    return _known(examined.model, "answers like Qwen3Guard-Gen")


def _known(name: str | None, does: str) -> str:
    demo = catalog.demo_served_as(name)
    if demo is not None:
        raise Notable(f"{name}: {does}, for demonstrations only", f"{SERVE} {demo.real}")
    return f"{name}, {does}"


async def server(examined: ExaminedEndpoint) -> str:
    owner = examined.endpoint.owner
    name, _ = _SERVERS.get(owner or "", (None, None))
    if name is not None:
        return name
    return f"of an unknown kind ({owner or 'not reported'}): used like any OpenAI-compatible one"


async def context(examined: ExaminedEndpoint) -> str:
    tokens = examined.endpoint.context_tokens
    if tokens is None:
        raise Notable(
            f"not reported by the server; {DEFAULT_CONTEXT_TOKENS} tokens are assumed",
            f"Set the context length in the filter's valves to what the server has: {_longer(examined)}.",
        )
    if tokens < _SMALL_CONTEXT:
        raise Notable(f"{tokens} tokens: longer turns are judged in windows", f"Serve with more: {_longer(examined)}.")
    return f"{tokens} tokens"


def _longer(examined: ExaminedEndpoint) -> str:
    return _SERVERS.get(examined.endpoint.owner or "", (None, "a larger context, if it can"))[1]


async def version(examined: ExaminedEndpoint) -> str:
    reply = await examined.server.get(f"{examined.server.root}/version")
    version = reply.field("version")
    numbers = re.match(r"(\d+)\.(\d+)", str(version))
    first, beyond = (".".join(map(str, number)) for number in _SUPPORTED_VLLM)
    if version is None or numbers is None:
        raise Notable("unknown: perhaps this is not vLLM", "Nothing, if verdicts are right.")
    if not _SUPPORTED_VLLM[0] <= (int(numbers[1]), int(numbers[2])) < _SUPPORTED_VLLM[1]:
        raise Notable(f"{version}", f"This project supports vLLM from {first} to below {beyond}: install one of these.")
    return f"{version}"
