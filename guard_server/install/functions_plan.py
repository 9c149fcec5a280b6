"""The plan for Functions: Open WebUI itself runs the plugins."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx

from guard_server.console_output import enumerated
from guard_server.errors import CannotInstall
from guard_server.install.function_places import FunctionFile, FunctionSwitch, FunctionValves
from guard_server.install.moving import Moving, ask_filter, has_controls, hidden_record
from guard_server.install.options import Options, Protect
from guard_server.install.plugin_files import FUNCTION_FILTER, FUNCTION_MODELS, plugin_file
from guard_server.install.steps import Put, SetupStep, WaitForModels
from guard_server.install.valve_steps import valve_steps
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.survey import Survey

_HIDDEN_ENTRY = f"{FUNCTION_MODELS}.check"
_FILTER_ON = {"active": True, "global": True}
_MODELS_ON = {"active": True, "global": False}


def plan(client: WebuiClient, survey: Survey, options: Options) -> list[SetupStep]:
    """The steps, after a check that they can be done. Raises CannotInstall."""
    _check(client, survey, options)
    return list(_steps(survey, options))


def _check(client: WebuiClient, survey: Survey, options: Options) -> None:
    features = client.get("/api/config").get("features") or {}
    if features.get("enable_functions") is False:
        raise CannotInstall(
            "This Open WebUI runs no Functions: ENABLE_FUNCTIONS or ENABLE_PLUGINS is false.",
            "Remove that setting and start it again, or use --host pipelines.",
        )
    if options.protect is Protect.MODELS:
        _check_controls(survey)
    if options.guard_url is not None:
        _check_guard(client, options.guard_url, options.guard_key)


def _steps(survey: Survey, options: Options) -> Iterator[SetupStep]:
    """In an order in which users always have a model, and a filter is set before it is on."""
    if options.has_models:
        yield from _models(survey, options)
    if options.has_filter:
        valves = {"answers": "models"} if options.protect is Protect.BOTH else {}
        yield from _file(survey, options, FUNCTION_FILTER, valves)
        yield Put("Switch the filter on, for all models", FunctionSwitch(FUNCTION_FILTER), _FILTER_ON)
        yield from ask_filter(survey)


def _models(survey: Survey, options: Options) -> Iterator[SetupStep]:
    both = options.protect is Protect.BOTH
    if both:
        yield hidden_record(_HIDDEN_ENTRY, "Qwen3Guard (hidden)")
    yield from _file(survey, options, FUNCTION_MODELS, {"hidden_entry": both})
    yield Put("Switch the guarded models on", FunctionSwitch(FUNCTION_MODELS), _MODELS_ON)
    ours = (FUNCTION_FILTER, FUNCTION_MODELS)
    direct = [one.id for one in survey.chat_models if one.plugin not in ours]
    moving = Moving(survey, {one: f"{FUNCTION_MODELS}.{one}" for one in direct}, own_system_prompt=False)
    wanted = tuple(moving.guarded[one.id] for one in moving.used)
    remedy = "Open WebUI's log has the reason. Nothing was taken from users: run the command again when it is solved."
    yield WaitForModels("Wait until Open WebUI lists the guarded models", wanted, remedy)
    yield from moving.ask_for_verdict()
    yield from moving.offer(hidden=both)
    if both:
        yield from moving.judge_tasks()
    else:
        yield from moving.move()
        yield from moving.close()


def _file(survey: Survey, options: Options, plugin: str, valves: dict[str, Any]) -> Iterator[SetupStep]:
    file, there = plugin_file(plugin), survey.function(plugin)
    value = {"name": there.name if there else plugin, "content": file.text, "description": file.description}
    title = f"Save the Function {plugin} {file.version}"
    yield Put(title, FunctionFile(plugin), value, keep=not options.upgrade)
    yield from valve_steps(plugin, options, valves, partial(FunctionValves, plugin))


def _check_controls(survey: Survey) -> None:
    """Open WebUI saves none for a Function's models, nor for presets on them (routers/models.py)."""
    found = [one.id for one in survey.records if one.is_active and one.readers and has_controls(one)]
    if found:
        raise CannotInstall(
            f"A Function's guarded models cannot have model controls, as these have: {enumerated(found)}.",
            "Take the controls away (Admin Panel > Settings > Models, Workspace > Models); or use --protect both, or "
            "--host pipelines.",
        )


def _check_guard(client: WebuiClient, url: str, key: str | None) -> None:
    """Open WebUI asks the guard for its models: what it cannot reach, its Functions cannot reach."""
    reply = client.reply("POST", "/openai/verify", json={"url": url, "key": key or "EMPTY", "config": {}})
    if reply.is_success and _lists_models(reply):
        return
    if reply.status_code in (401, 403):
        raise CannotInstall(f"The guard at {url} refuses its key.", "Set GUARD_API_KEY, or give --guard-key.")
    raise CannotInstall(
        f"Open WebUI cannot reach a guard at {url}.",
        "Is it running, and is this its address, with /v1, as Open WebUI's own server sees it? In a container, "
        "localhost is the container: name the guard's host. `qwen3guard doctor` examines the guard itself.",
    )


def _lists_models(reply: httpx.Response) -> bool:
    try:
        return bool(reply.json()["data"])
    except (ValueError, KeyError, TypeError):
        return False
