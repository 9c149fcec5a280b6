"""The Pipelines server's key, which signs what the plugins tell each other: one that everybody knows signs nothing."""

from guard_server.doctor_problems import Failed
from guard_server.doctor_server import Server

# Of the Pipelines server's config.py.
_PUBLIC_KEY = "0p3n-w3bu!"
_REMEDY = (
    "Start the Pipelines server with a PIPELINES_API_KEY of your own, and put it into Open WebUI's connection. Until "
    "then the plugins trust no mark: guarded models judge every system prompt, and take Open WebUI's tasks for chats."
)


async def secret_key(url: str, seconds: float) -> str:
    """What was found of the Pipelines server at `url`.

    Raises:
        Failed: it takes the public key.
        NoReply: see `doctor_problems`.
    """
    async with Server(url, _PUBLIC_KEY, seconds) as server:
        reply = await server.get("/pipelines")
    if reply.status == 200 and isinstance(reply.field("data"), list):
        raise Failed("it takes the key that everybody knows", _REMEDY)
    if reply.status in (401, 403):
        return "a key of its own"
    raise Failed(
        f"/pipelines answered {reply.status} with {reply.excerpt}: this is no Pipelines server",
        "Name its address with --pipelines, such as http://localhost:9099",
    )
