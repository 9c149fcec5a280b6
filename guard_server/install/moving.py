"""Moves users from direct models to guarded ones, without a moment in which they have none."""

from collections.abc import Iterator, Mapping

from guard_server.install.model_places import ModelField, ModelGrants, ModelRecordPlace, form_of, grants_of
from guard_server.install.setting_places import ARENA, model_setting, task_setting
from guard_server.install.steps import AskForVerdict, Put, SetupStep
from guard_server.open_webui.records import EVERYBODY, Body, ModelRecord
from guard_server.open_webui.survey import Survey

_GUARD = "Run the command again, with a --guard-url and --guard-key that work where the plugins run."
_DEFAULT_MODELS = {"DEFAULT_MODELS": "default models", "DEFAULT_PINNED_MODELS": "pinned models"}
# Open WebUI has one for the models of Ollama, and one for all others.
_TASK_MODELS = {"TASK_MODEL": "local", "TASK_MODEL_EXTERNAL": "external"}
_CONTROLS = "model_controls"


class Moving:
    """The steps for a survey.

    Args:
        survey: what is there.
        guarded: the guarded model of each direct one, by their ids.
        own_system_prompt: whether a guarded model needs the direct one's system prompt; otherwise that is put there by
            the direct model, which answers for it.
    """

    def __init__(self, survey: Survey, guarded: Mapping[str, str], *, own_system_prompt: bool) -> None:
        self.survey = survey
        self.guarded = guarded
        self.own_system_prompt = own_system_prompt
        # If such a model has an entry, Open WebUI lets those users ask it who may use it, also for a guarded model
        # (generate_function_chat_completion in its functions.py); if it has none, it lets guarded models ask it.
        self._functions = {model.id for model in survey.models if model.is_function}

    @property
    def used(self) -> list[ModelRecord]:
        """The direct models that users may use: one without a record is closed to them."""
        return [one for one in self.survey.records if one.id in self.guarded and one.readers and one.is_active]

    def ask_for_verdict(self) -> Iterator[SetupStep]:
        """Before anything is taken from users."""
        for direct in self.used[:1]:
            remedy = f"{_GUARD} Nothing was taken from users."
            yield AskForVerdict("Ask a guarded model: it must get a verdict", self.guarded[direct.id], remedy)

    def offer(self, *, hidden: bool) -> Iterator[SetupStep]:
        """Guarded models under the names of the direct ones, for the same users."""
        for direct in self.used:
            model = self.guarded[direct.id]
            yield Put(
                f"Offer {model} under the name of {direct.id}",
                ModelRecordPlace(model),
                self._form(direct, hidden),
                True,
            )
            yield Put(f"Give {model} to the users of {direct.id}", ModelGrants(model), grants_of(direct.raw))

    def move_presets(self) -> Iterator[SetupStep]:
        """Builds presets on guarded models, under their own ids."""
        for preset in self.survey.presets:
            base = self.guarded.get(preset.base or "")
            if base is not None:
                yield Put(f"Build the preset {preset.id} on {base}", ModelField(preset.id, "base_model_id"), base)

    def move(self) -> Iterator[SetupStep]:
        """Presets, default models, pinned models, their order, and task models."""
        yield from self.move_presets()
        moved = {direct.id: self.guarded[direct.id] for direct in self.used}
        settings = self.survey.model_settings
        for name, words in _DEFAULT_MODELS.items():
            chosen = str(settings.get(name) or "")
            new = ",".join(moved.get(model, model) for model in chosen.split(","))
            if new != chosen:
                yield Put(f"Set the {words} to {new}", model_setting(name), new)
        order = settings.get("MODEL_ORDER_LIST") or []
        new_order = [moved.get(model, model) for model in order]
        if new_order != order:
            yield Put("Keep the order of the models", model_setting("MODEL_ORDER_LIST"), new_order)
        for name, whose in _TASK_MODELS.items():
            model = str(self.survey.task_settings.get(name) or "")
            if model in self.guarded:
                yield _write_titles(self.guarded[model], whose, name)
        # An arena asks any model, whoever may use it.
        yield Put("Switch arena models off", ARENA, False)

    def close(self) -> Iterator[SetupStep]:
        """Takes the direct models from users, and out of the admins' list."""
        for direct in self.used:
            if direct.id in self._functions:
                yield Put(f"Close {direct.id} to users, by taking away its entry", ModelRecordPlace(direct.id), None)
                continue
            # Closed last: a run that is continued finds only those that are still open.
            yield Put(f"Hide {direct.id} in the list of models", ModelField(direct.id, "hidden"), True)
            yield Put(f"Close {direct.id} to users", ModelGrants(direct.id), [])

    def judge_tasks(self) -> Iterator[SetupStep]:
        """Titles and tags of direct models are written by a guarded one that everybody may use."""
        public = [direct for direct in self.used if direct.is_public]
        first = next((one for one in public if one.id in self.survey.default_models), public[0] if public else None)
        if first is None:
            return
        for name, whose in _TASK_MODELS.items():
            chosen = str(self.survey.task_settings.get(name) or "")
            if not chosen or chosen in self.guarded:
                model = self.guarded[chosen if chosen in {one.id for one in public} else first.id]
                yield _write_titles(model, whose, name)

    def _form(self, direct: ModelRecord, hidden: bool) -> Body:
        form = form_of(direct.raw) | {"id": self.guarded[direct.id], "base_model_id": None}
        if hidden:
            form["meta"] = {**(form.get("meta") or {}), "hidden": True}
        if not self.own_system_prompt:
            keeps_system = direct.id in self._functions and not hidden
            left_out = {_CONTROLS} | (set() if keeps_system else {"system"})
            form["params"] = {name: one for name, one in (form.get("params") or {}).items() if name not in left_out}
        return form | {"access_grants": grants_of(direct.raw)}


def has_controls(record: ModelRecord) -> bool:
    """Whether users of a model have switches for its parameters."""
    return bool((record.raw.get("params") or {}).get(_CONTROLS))


def ask_filter(survey: Survey) -> Iterator[SetupStep]:
    """After a filter is on."""
    offered = [one.id for one in survey.chat_models if survey.may_read(one.id)]
    for model in offered[:1]:
        remedy = f"{_GUARD} Until then all chats are withheld; --uninstall takes the filter away."
        yield AskForVerdict("Ask through the filter: it must get a verdict", model, remedy)


def _write_titles(model: str, whose: str, setting: str) -> Put:
    return Put(f"Let {model} write titles and tags for {whose} models", task_setting(setting), model)


def hidden_record(model: str, name: str) -> Put:
    """A model that everybody may use, and that no list shows."""
    form: Body = {"id": model, "base_model_id": None, "name": name, "params": {}, "is_active": True}
    form |= {"meta": {"hidden": True}, "access_grants": [EVERYBODY]}
    return Put(f"Let everybody use {model}, hidden in the list of models", ModelRecordPlace(model), form, True)
