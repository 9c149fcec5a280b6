"""The plan for a Pipelines server."""

from collections.abc import Iterator, Sequence
from functools import partial

from guard_server.console_output import enumerated
from guard_server.errors import CannotInstall, WebuiRefused
from guard_server.install.model_places import ModelField, ModelRecordPlace
from guard_server.install.model_servers import (
    SERVER_VALVES,
    ModelServer,
    direct_servers,
    guarded_id,
    guarded_models,
    joined,
    known_servers,
    server_valves,
    switch_of,
)
from guard_server.install.moving import Moving, ask_filter, hidden_record
from guard_server.install.options import Options, Protect
from guard_server.install.pipeline_places import PipelineFile, PipelineValves
from guard_server.install.plugin_files import PIPELINES_FILTER, PIPELINES_MODELS, PIPELINES_REFUSAL, plugin_file
from guard_server.install.setting_places import OLLAMA, OPENAI, ConnectionSwitch, PipelinesConnection
from guard_server.install.steps import Put, PutSecret, SetupStep, Upload, WaitForModels
from guard_server.install.valve_steps import valve_steps
from guard_server.open_webui.chat_replies import reply_object
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Body, WebuiConnection
from guard_server.open_webui.survey import Survey
from guard_server.open_webui.workers import from_all_workers

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


def plan(client: WebuiClient, survey: Survey, options: Options) -> list[SetupStep]:
    """The steps, after a check that they can be done. Raises CannotInstall."""
    url = server_of(survey, options)
    _check_server(client, survey, options, url)
    servers = joined(_known(client, survey, url), direct_servers(survey, url))
    if options.has_models:
        _check_models(survey, options, servers)
    return list(steps(survey, options, servers))


def _known(client: WebuiClient, survey: Survey, url: str) -> list[ModelServer]:
    """The servers of models that the plugin has, if it is there."""
    here = [one.id for server in survey.pipelines if server.connection.url == url for one in server.pipelines]
    if PIPELINES_MODELS not in here:
        return []
    valves = PipelineValves(url, PIPELINES_MODELS, SERVER_VALVES)

    def read() -> Body | None:
        try:
            found: Body = valves.read(client)
        except WebuiRefused:
            # A worker that has not loaded it yet.
            return None
        return found

    return known_servers(next(filter(None, from_all_workers(read)), {}))


def _check_server(client: WebuiClient, survey: Survey, options: Options, url: str) -> None:
    """Raises CannotInstall for a Pipelines server that Open WebUI cannot use."""
    connected = next((one for one in survey.connections if one.url == url), None)
    if connected is not None:
        _check_connection(connected)
    key = connected.key if connected else options.pipelines_key
    if not key:
        raise CannotInstall(f"The key of the Pipelines server {url} is missing.", _NO_SERVER)
    reply = client.reply("POST", "/openai/verify", json={"url": url, "key": key, "config": {}})
    if reply.status_code in (401, 403):
        raise CannotInstall(f"The Pipelines server {url} refuses its key.", _ITS_KEY)
    if not (reply.is_success and reply_object(reply).get("pipelines")):
        raise CannotInstall(
            f"Open WebUI cannot reach a Pipelines server at {url}.",
            "Is it running, and is this its address as Open WebUI's own server sees it?",
        )
    server = next((one for one in survey.pipelines if one.connection.url == url), None)
    if server and server.problem:
        raise CannotInstall(f"The Pipelines server {url} lists no plugins: {server.problem}", _ITS_KEY)


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


def _check_models(survey: Survey, options: Options, servers: Sequence[ModelServer]) -> None:
    """Raises CannotInstall for models of which no guarded one can be made, or found."""
    for one in _direct(servers):
        if odd := [name for name in _OWN_WAYS if one.settings.get(name) not in (None, "", "bearer", {})]:
            raise CannotInstall(f"The connection {one.url} has settings of its own ({', '.join(odd)}).", _OTHER_HOST)
    guarded = guarded_models(survey, servers)
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


def _direct(servers: Sequence[ModelServer]) -> list[WebuiConnection]:
    """The OpenAI-compatible connections of those that are on."""
    return [one.connection for one in servers if one.connection is not None and not one.is_ollama]


def _is_internal(model: str) -> bool:
    """Whether it only says notices."""
    return model in (PIPELINES_REFUSAL, _REFUSAL_ENTRY)


def steps(survey: Survey, options: Options, servers: Sequence[ModelServer]) -> Iterator[SetupStep]:
    """In an order in which users always have a model."""
    url = server_of(survey, options)
    both = options.protect is Protect.BOTH
    if not survey.openai_enabled:
        for one in survey.connections:
            if one.url != url and one.is_enabled:
                yield Put(f"Keep the connection {one.url} off", switch_of(survey, one), False)
        yield Put("Allow OpenAI-compatible connections", OPENAI, True)
    yield Put(f"Connect the Pipelines server {url}", PipelinesConnection(url, options.pipelines_key or ""), True)
    if options.has_models:
        yield from _models(survey, options, url, servers)
    if options.has_filter:
        refusal = _REFUSAL_ENTRY if both else PIPELINES_REFUSAL
        yield hidden_record(refusal, _REFUSAL_NAME)
        if not both:
            yield _upload(url, PIPELINES_REFUSAL, options)
        yield from _switch_among_the_models()
        closing = tuple(switch_of(survey, one) for one in _direct(servers))
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


def _models(survey: Survey, options: Options, url: str, servers: Sequence[ModelServer]) -> Iterator[SetupStep]:
    both = options.protect is Protect.BOTH
    yield _upload(url, PIPELINES_MODELS, options)
    # A new run of a finished installation finds no direct connection any more.
    if any(one.connection for one in servers):
        where = PipelineValves(url, PIPELINES_MODELS, SERVER_VALVES)
        title = "Give the guarded models the addresses and keys of the models' servers"
        yield PutSecret(title, where, server_valves(servers))
    yield from valve_steps(
        PIPELINES_MODELS, options, {"refusal_entry": both}, partial(PipelineValves, url, PIPELINES_MODELS)
    )
    moving = Moving(survey, guarded_models(survey, servers), own_system_prompt=True)
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
    for one in _direct(servers):
        yield Put(f"Switch the direct connection {one.url} off", switch_of(survey, one), False)
    if any(one.is_ollama for one in servers):
        yield Put("Switch the direct connection to Ollama off", OLLAMA, False)


def _upload(url: str, plugin: str, options: Options, closing: tuple[ConnectionSwitch, ...] = ()) -> Upload:
    file = plugin_file(plugin)
    title = f"Upload {plugin} {file.version} to the Pipelines server"
    return Upload(title, PipelineFile(url, plugin), file.text, options.upgrade, closing if options.upgrade else ())
