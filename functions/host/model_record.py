"""What Open WebUI's database says of models: their names, who may use them, and what they are made of."""

from collections.abc import Iterable
from typing import Any

from functions.host.host_modules import from_host
from webui.log import log

_EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}
# Presets may be built on one another; more than this is a circle.
_LONGEST_CHAIN = 10


async def records_of(models: Iterable[str]) -> dict[str, Any]:
    """The records of those models that have one, by id.

    Raises:
        HostChanged
    """
    records = await from_host("models.models", "Models").get_models_by_ids(list(models))
    return {record.id: record for record in records}


async def chain_of(model: str) -> list[str]:
    """A model, the one that it is built on, and so on.

    Raises:
        HostChanged
    """
    chain = [model]
    while len(chain) < _LONGEST_CHAIN:
        record = await from_host("models.models", "Models").get_model_by_id(chain[-1])
        if record is None or not record.base_model_id or record.base_model_id in chain:
            break
        chain.append(record.base_model_id)
    return chain


async def may_use(request: Any, user: Any, model: str) -> bool:
    """Whether a user may use a model, as Open WebUI itself decides it for a chat.

    Raises:
        HostChanged
    """
    found = request.app.state.MODELS.get(model)
    if found is None:
        return False
    if user.role == "admin" or from_host("env", "BYPASS_MODEL_ACCESS_CONTROL"):
        return True
    check = from_host("utils.models", "check_model_access")
    try:
        await check(user, found)
    except Exception:
        # It raises a bare one for those who may not.
        return False
    return True


async def offer_hidden(model: str, name: str, description: str) -> None:
    """Let everybody use a model that no list shows, unless an admin has decided otherwise.

    Raises:
        HostChanged
    """
    models, form = from_host("models.models", "Models"), from_host("models.models", "ModelForm")
    if await models.get_model_by_id(model) is not None:
        return
    owner = await from_host("models.users", "Users").get_super_admin_user()
    if owner is None:
        return
    meta = {"hidden": True, "description": description}
    record = form(id=model, name=name, meta=meta, params={}, access_grants=[_EVERYBODY])
    try:
        await models.insert_new_model(record, owner.id)
    except Exception as error:
        # Another worker may have been quicker.
        log.info("%s was not added: %s", model, type(error).__name__)
