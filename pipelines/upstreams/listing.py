"""All servers whose models are guarded, and the names that their models have here."""

import asyncio
from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipelines.upstreams.http_upstream import HttpUpstream
from pipelines.upstreams.model_ids import decoded, encoded
from webui.guarded.upstream import UpstreamFailed
from webui.log import log

_WILDCARDS = "*?["


class Upstreams:
    """All upstreams and the models that they list.

    Args:
        upstreams: in the order in which the admin named them, on which ids depend.
        wanted: patterns of the model ids to offer, such as `llama*`.
        naming: the name that users read; `{model}` is replaced by the model's id.
    """

    def __init__(self, upstreams: Sequence[HttpUpstream], wanted: Sequence[str], naming: str) -> None:
        self._upstreams = list(upstreams)
        self._wanted = wanted
        self._naming = naming
        self._listed: list[list[str]] = [[] for _ in upstreams]
        # A model that the admin names in full is offered, even if its server does not list it.
        self._named = [pattern for pattern in wanted if not set(pattern) & set(_WILDCARDS)]
        self.entries: list[dict[str, str]] = []
        """`id` and `name` of each guarded model, as listed last. An upstream that is down keeps its models."""

    def resolve(self, entry_id: str) -> tuple[HttpUpstream, str] | None:
        """The upstream of a model and its own name there, listed or not; None for an id that is not ours."""
        model, number = decoded(entry_id)
        if not 1 <= number <= len(self._upstreams) or not self._offers(model):
            return None
        return self._upstreams[number - 1], model

    async def refresh(self) -> bool:
        """Ask all upstreams once. Returns whether all of them answered."""
        done = await asyncio.gather(*map(self._list, range(len(self._upstreams))))
        self.entries = [
            {
                "id": encoded(model, place),
                "name": self._naming.replace("{model}", model),
            }
            for place, models in enumerate(self._listed, 1)
            for model in models
            if self._offers(model)
        ]
        return all(done)

    async def aclose(self) -> None:
        await asyncio.gather(*(upstream.aclose() for upstream in self._upstreams))

    async def _list(self, place: int) -> bool:
        upstream = self._upstreams[place]
        try:
            models = await upstream.models()
        except UpstreamFailed as error:
            log.warning("%s lists no models: %s", upstream.base_url, error)
            return False
        if not models:
            models = self._named
            if not models:
                log.warning("%s has no list of models: name its models in the valve `models`", upstream.base_url)
        self._listed[place] = models
        return True

    def _offers(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self._wanted)
