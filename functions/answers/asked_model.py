"""Which of Open WebUI's models a request to the guarded models' function is for, and whether it may be asked."""

from typing import Any, NamedTuple

from functions.answers.guarded_route import CHECK_ENTRY, mark_answered, picked_model
from functions.host.model_record import chain_of, may_use
from functions.host.own_models import matches
from webui.bodies import Body
from webui.guarded.upstream import UpstreamFailed
from webui.settings import words

_NOT_DIRECTLY = (
    "This entry of Qwen3Guard is there for its filter, and answers nobody who asks it directly. "
    "Please choose another model."
)


class AskedModel(NamedTuple):
    """The model that answers."""

    id: str
    picked: bool
    """Whether the filter sent the request here, so that nothing of the model's own is in it yet."""


async def asked_model(request: Any, user: Any, body: Body, metadata: Body, offered: str) -> AskedModel:
    """The model behind the entry that `body` names.

    Args:
        request: Open WebUI's.
        user: who asks.
        body: the request, for an entry of ours: `<function>.<model>`.
        metadata: of the request.
        offered: the valve that names the models to offer.

    Raises:
        UpstreamFailed: there is no such model, or it may not be asked in this way.
    """
    function, _, entry = str(body.get("model")).partition(".")
    message = str(metadata.get("message_id") or "")
    if entry != CHECK_ENTRY:
        # Open WebUI has checked that the user may use this entry. An entry of an entry would never end.
        if not matches(entry, words(offered)) or entry.startswith(f"{function}."):
            raise UpstreamFailed(f"There is no guarded model {entry!r}.", 404)
        mark_answered(request, message)
        return AskedModel(entry, picked=False)
    picked = picked_model(request, message)
    if picked is None or getattr(request.state, "direct", False):
        raise UpstreamFailed(_NOT_DIRECTLY, 403)
    if f"{function}.{CHECK_ENTRY}" in await chain_of(picked):
        raise UpstreamFailed(_NOT_DIRECTLY, 403)
    # Everybody may use the hidden entry, so Open WebUI's own check says nothing of the model that was picked.
    if not await may_use(request, user, picked):
        raise UpstreamFailed("Model not found", 404)
    mark_answered(request, message)
    return AskedModel(picked, picked=True)
