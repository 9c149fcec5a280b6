"""A mark by which the guarded models' outlet says to the filter's that this answer is one of theirs, so it was judged.

Open WebUI asks the outlet of the model that answered first, and the filters' after it, with the body that came back. It
asks no outlet of the model that a preset builds on, and a preset's id is its maker's choice; so nothing but this mark
says that a model is guarded. It needs no memory, which another worker would not have.
"""

import json
import time
from typing import Any

from pipelines.marks.signing import is_signed, sign
from webui.bodies import Body, object_or_empty

OUTLET_KEY = "qwen3guard_outlet"
# From one outlet to the next.
_OUTLET_SECONDS = 60


def put_outlet_mark(body: Body) -> None:
    """Mark a chat on its way to the filter's outlet. Without a key that is secret there is no mark."""
    data = json.dumps({**_named(body), "issued": time.time()})
    signature = sign(data, "outlet")
    body.pop(OUTLET_KEY, None)
    if signature is not None:
        body[OUTLET_KEY] = {"data": data, "signature": signature}


def take_outlet_mark(body: Body) -> bool:
    """Whether a guarded model gave this answer; the mark is taken off."""
    entry = object_or_empty(body.pop(OUTLET_KEY, None))
    if not is_signed(entry.get("data"), entry.get("signature"), "outlet"):
        return False
    marked = json.loads(entry["data"])
    issued = marked.pop("issued")
    return bool(marked == _named(body) and time.time() - issued < _OUTLET_SECONDS)


def _named(body: Body) -> dict[str, Any]:
    """Which answer it is."""
    return {key: str(body.get(key)) for key in ("model", "chat_id", "id")}
