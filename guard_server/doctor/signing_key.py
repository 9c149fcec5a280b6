"""Checks the Pipelines server's key. It signs the marks that the plugins exchange, so it must not be the public one."""

from guard_server.doctor.findings import Failed
from guard_server.doctor.raw_replies import RawServer

# The default in the Pipelines server's config.py.
_PUBLIC_KEY = "0p3n-w3bu!"
_REMEDY = (
    "Start the Pipelines server with a PIPELINES_API_KEY of your own, and put it into Open WebUI's connection. Until "
    "then the plugins trust no mark: guarded models judge every system prompt, and treat Open WebUI's tasks as chats."
)


async def secret_key(url: str, seconds: float) -> str:
    """What was found about the key of the Pipelines server at `url`.

    Raises:
        Failed: it accepts the public key, or is not a Pipelines server.
        NoReply: see findings.py.
    """
    async with RawServer(url, _PUBLIC_KEY, seconds) as server:
        reply = await server.get("/pipelines")
    if reply.status == 200 and isinstance(reply.field("data"), list):
        raise Failed("it accepts Pipelines' default key, which is public", _REMEDY)
    if reply.status in (401, 403):
        return "a key of its own"
    raise Failed(
        f"/pipelines answered {reply.status} with {reply.excerpt}: this is no Pipelines server",
        "Name its address with --pipelines, such as http://localhost:9099",
    )
