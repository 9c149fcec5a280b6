"""The plan for a Pipelines server."""

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from guard_server.console_output import enumerated
from guard_server.errors import CannotInstall
from guard_server.install.model_places import ModelField, ModelRecordPlace
from guard_server.install.moving import Moving, ask_filter, hidden_record
from guard_server.install.options import Options, Protect
from guard_server.install.pipeline_places import PipelineFile, PipelineValves
from guard_server.install.plugin_files import PIPELINES_FILTER, PIPELINES_MODELS, PIPELINES_REFUSAL, plugin_file
from guard_server.install.setting_places import OLLAMA, OPENAI, ConnectionSwitch, PipelinesConnection
from guard_server.install.steps import Put, PutSecret, SetupStep, Upload, WaitForModels
from guard_server.install.valve_steps import valve_steps
from guard_server.open_webui.chat_replies import body_of
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Body, WebuiConnection
from guard_server.open_webui.survey import Survey

_REFUSAL_ENTRY = f"{PIPELINES_MODELS}.~refusal"
_REFUSAL_NAME = "Qwen3Guard refusal"
_FILTER_NAME = "Qwen3Guard filter (keep this on: if it is off, nothing is judged)"
_NO_SERVER = "Name it with --pipelines, and set PIPELINES_API_KEY; or use --host functions, which needs none."
_ITS_KEY = (
    "The server was started with another PIPELINES_API_KEY than the one in Open WebUI (Admin Panel > Settings > "
    "Connections) or, if it is not connected yet, than the one in this command's environment."
)
_OTHER_HOST = "Use --host functions, which asks the models through Open WebUI; or see docs/guarded-models.md."
# What guarded models cannot be told, or only by hand.
_OWN_WAYS = ("azure", "provider", "headers", "auth_type", "api_type")


def server_of(survey: Survey, options: Options) -> str:
    """The address of the Pipelines server, as Open WebUI names it. Raises CannotInstall."""
    if options.pipelines is not None:
        wanted = options.pipelines.rstrip("/")
        return next((one.url for one in survey.connections if one.url.rstrip("/") == wanted), wanted)
    known = [server.connection.url for server in survey.pipelines]
    if len(known) != 1:
        found = (
            f"{len(known)} Pipelines servers are connected"
            if known
            else "No Pipelines server is connected, or none answers"
        )
        raise CannotInstall(f"{found}.", _NO_SERVER)
    return known[0]


def check(client: WebuiClient, survey: Survey, options: Options) -> None:
    """Raises CannotInstall for what would make a step fail, before anything is changed."""
    url = server_of(survey, options)
    connected = next((one for one in survey.connections if one.url == url), None)
    if connected is not None:
        _check_connection(connected)
    key = connected.key if connected else options.pipelines_key
    if not key:
        raise CannotInstall(f"The key of the Pipelines server {url} is missing.", _NO_SERVER)
    reply = client.reply("POST", "/openai/verify", json={"url": url, "key": key, "config": {}})
    if reply.status_code in (401, 403):
        raise CannotInstall(f"The Pipelines server {url} refuses its key.", _ITS_KEY)
    if not (reply.is_success and body_of(reply).get("pipelines")):
        raise CannotInstall(
            f"Open WebUI cannot reach a Pipelines server at {url}.",
            "Is it running, and is this its address as Open WebUI's own server sees it?",
        )
    server = next((one for one in survey.pipelines if one.connection.url == url), None)
    if server and server.problem:
        raise CannotInstall(f"The Pipelines server {url} lists no plugins: {server.problem}", _ITS_KEY)
    if options.has_models:
        _check_models(survey, options, url)


def _check_connection(connected: WebuiConnection) -> None:
    """Raises CannotInstall for settings with which Open WebUI calls no filter, or not by its name."""
    found = [
        "is switched off" * (not connected.is_enabled),
        "has a prefix" * bool(connected.prefix),
        "has a list of model ids" * bool(connected.model_ids),
    ]
    if problems := list(filter(None, found)):
        raise CannotInstall(
            f"The connection to the Pipelines server {connected.url} {' and '.join(problems)}.",
            "Change that on its page first (Admin Panel > Settings > Connections).",
        )


def _check_models(survey: Survey, options: Options, url: str) -> None:
    """Raises CannotInstall for models of which no guarded one can be made, or found."""
    upstreams = _upstreams(survey, url)
    for one in upstreams:
        if odd := [name for name in _OWN_WAYS if one.settings.get(name) not in (None, "", "bearer", {})]:
            raise CannotInstall(f"The connection {one.url} has settings of its own ({', '.join(odd)}).", _OTHER_HOST)
    guarded = _guarded(survey, upstreams)
    offered = [one for one in survey.chat_models if survey.may_read(one.id) and not _is_internal(one.id)]
    direct = [one.id for one in offered if one.plugin != PIPELINES_MODELS]
    if foreign := [name for name in direct if name not in guarded]:
        raise CannotInstall(
            f"A Pipelines server cannot guard models of other plugins: {enumerated(foreign)}.", _OTHER_HOST
        )
    # The filter sends requests on to the guarded model whose id has the direct one's.
    if options.protect is Protect.BOTH and (other := [name for name in direct if guarded[name] != guarded_id(name)]):
        raise CannotInstall(
            f"With --protect both, a Pipelines server guards models of its first connection only: not {other[0]}.",
            "Switch connections without models off, and remove prefixes (Admin Panel > Settings > Connections); or use "
            "--protect models, or --host functions.",
        )


def _is_internal(model: str) -> bool:
    """Whether it only says notices."""
    return model in (PIPELINES_REFUSAL, _REFUSAL_ENTRY)


def steps(survey: Survey, options: Options) -> Iterator[SetupStep]:
    """In an order in which users always have a model."""
    url = server_of(survey, options)
    both = options.protect is Protect.BOTH
    if not survey.openai_enabled:
        for one in survey.connections:
            if one.url != url and one.is_enabled:
                yield Put(f"Keep the connection {one.url} off", _switch(survey, one), False)
        yield Put("Allow OpenAI-compatible connections", OPENAI, True)
    yield Put(f"Connect the Pipelines server {url}", PipelinesConnection(url, options.pipelines_key or ""), True)
    if options.has_models:
        yield from _models(survey, options, url)
    if options.has_filter:
        refusal = _REFUSAL_ENTRY if both else PIPELINES_REFUSAL
        yield hidden_record(refusal, _REFUSAL_NAME)
        if not both:
            yield _upload(url, PIPELINES_REFUSAL, options)
        yield from _switch_among_the_models()
        closing = tuple(_switch(survey, one) for one in _upstreams(survey, url))
        yield _upload(url, PIPELINES_FILTER, options, closing)
        # The server keeps the valves of a plugin that was deleted.
        yield from valve_steps(
            PIPELINES_FILTER,
            options,
            {"refusal_model": refusal, "reroute": both},
            partial(PipelineValves, url, PIPELINES_FILTER),
        )
        yield WaitForModels(
            "Wait until Open WebUI lists the filter", (PIPELINES_FILTER,), "The Pipelines server's log."
        )
        yield from ask_filter(survey)


def _switch_among_the_models() -> Iterator[SetupStep]:
    """Open WebUI lists the filter as a model, whose switch ends moderation, and which stays off over an upload."""
    form: Body = {"id": PIPELINES_FILTER, "base_model_id": None, "name": _FILTER_NAME, "params": {}, "is_active": True}
    form |= {"meta": {}, "access_grants": []}
    yield Put("List the filter among the models", ModelRecordPlace(PIPELINES_FILTER), form, True)
    yield Put("Switch the filter on among the models", ModelField(PIPELINES_FILTER, "is_active"), True)


def _models(survey: Survey, options: Options, url: str) -> Iterator[SetupStep]:
    both = options.protect is Protect.BOTH
    upstreams = _upstreams(survey, url)
    ollama = _ollama(survey)
    yield _upload(url, PIPELINES_MODELS, options)
    addresses = [one.url for one in upstreams] + [f"{one.url.rstrip('/')}/v1" for one in ollama]
    keys = [one.key or "none" for one in (*upstreams, *ollama)]
    # A new run of a finished installation finds no direct connection any more: the valves have them.
    if addresses:
        where = PipelineValves(url, PIPELINES_MODELS, ("upstream_base_urls", "upstream_api_keys"))
        wanted = {"upstream_base_urls": ", ".join(addresses), "upstream_api_keys": ", ".join(keys)}
        yield PutSecret("Give the guarded models the addresses and keys of the models' servers", where, wanted)
    yield from valve_steps(
        PIPELINES_MODELS, options, {"refusal_entry": both}, partial(PipelineValves, url, PIPELINES_MODELS)
    )
    moving = Moving(survey, _guarded(survey, upstreams), own_system_prompt=True)
    wanted_models = tuple(moving.guarded[one.id] for one in moving.used)
    remedy = (
        "The Pipelines server must reach the models' servers at the addresses that Open WebUI has; its log has the "
        "reason. Nothing was taken from users: run the command again when it is solved."
    )
    yield WaitForModels("Wait until Open WebUI lists the guarded models", wanted_models, remedy)
    yield from moving.ask_for_verdict()
    yield from moving.offer(hidden=both)
    if both:
        # The filter sends no request for a preset on, since the preset's system prompt would be lost.
        yield from moving.move_presets()
        yield from moving.judge_tasks()
        return
    yield from moving.move()
    for one in upstreams:
        yield Put(f"Switch the direct connection {one.url} off", _switch(survey, one), False)
    if ollama:
        yield Put("Switch the direct connection to Ollama off", OLLAMA, False)


def _upstreams(survey: Survey, url: str) -> list[WebuiConnection]:
    """The connections that are on, without Pipelines servers."""
    servers = {server.connection.url for server in survey.pipelines} | {url}
    return [one for one in survey.connections if survey.openai_enabled and one.is_enabled and one.url not in servers]


def _switch(survey: Survey, connection: WebuiConnection) -> ConnectionSwitch:
    alike = [one for one in survey.connections if one.url == connection.url and one.index < connection.index]
    return ConnectionSwitch(connection.url, len(alike))


def _ollama(survey: Survey) -> list[WebuiConnection]:
    """The servers of Ollama that are on."""
    return [one for one in survey.ollama if survey.ollama_enabled and one.is_enabled]


def _guarded(survey: Survey, upstreams: list[WebuiConnection]) -> dict[str, str]:
    """The guarded model of each direct one, by their ids in Open WebUI."""
    ollama = _ollama(survey)
    places = {(False, one.index): (place, one.prefix) for place, one in enumerate(upstreams, 1)}
    places |= {(True, one.index): (place, one.prefix) for place, one in enumerate(ollama, len(upstreams) + 1)}
    found = {}
    for model in survey.models:
        if model.connection is not None and (model.is_ollama, model.connection) in places:
            place, prefix = places[model.is_ollama, model.connection]
            found[model.id] = guarded_id(model.id.removeprefix(f"{prefix}.") if prefix else model.id, place)
    return found


def guarded_id(model: str, place: int = 1) -> str:
    """The id that the plugin gives to a model of the server at `place`: pipelines/upstreams/model_ids.py."""
    entry = quote(model, safe=":").replace("~", "%7E").replace("%", "~")
    return f"{PIPELINES_MODELS}.{entry}" + ("" if place == 1 else f"~~{place}")


def _upload(url: str, plugin: str, options: Options, closing: tuple[ConnectionSwitch, ...] = ()) -> Upload:
    file = plugin_file(plugin)
    title = f"Upload {plugin} {file.version} to the Pipelines server"
    return Upload(title, PipelineFile(url, plugin), file.text, options.upgrade, closing if options.upgrade else ())
