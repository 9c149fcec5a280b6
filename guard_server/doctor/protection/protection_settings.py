"""What an admin's settings say about protection, without asking any model."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from guard_server import __version__
from guard_server.console_output import counted
from guard_server.doctor.examination import Level
from guard_server.doctor.protection.protection_report import SettingFinding
from guard_server.doctor.protection.valves import Plugin
from guard_server.open_webui.records import OURS, PipelinesServer
from guard_server.open_webui.survey import Survey

# The default in the Pipelines server's config.py. Plugins of ours trust no mark that it signs.
PUBLIC_KEY = "0p3n-w3bu!"
_TESTED = ("0.12",)
_CONNECTIONS = "Admin Panel > Settings > Connections"
_PIPELINES = "Admin Panel > Settings > Pipelines"
_FUNCTIONS = "Admin Panel > Functions"
_MODELS = "Admin Panel > Settings > Models"


def setting_findings(found: Survey, plugins: tuple[Plugin, ...], *, direct: bool) -> tuple[SettingFinding, ...]:
    """All of them, in order.

    Args:
        direct: whether users may connect the page with model servers of their own.
    """
    return (
        _version(found),
        *_any_plugin(found, plugins),
        *(finding for server in found.pipelines for finding in _server(server)),
        *(finding for plugin in plugins for finding in _plugin(found, plugin)),
        *_guards(plugins),
        *_direct(direct),
    )


def _version(found: Survey) -> SettingFinding:
    what = f"{found.version}, {counted(found.users, 'account')}"
    if found.version.startswith(tuple(f"{tested}." for tested in _TESTED)):
        return _ok("Open WebUI", what)
    return _warning("Open WebUI", what, f"This check was tested with {', '.join(_TESTED)} only.")


def _any_plugin(found: Survey, plugins: tuple[Plugin, ...]) -> Iterator[SettingFinding]:
    # Open WebUI does not ask such a connection what its ids are, so it is no Pipelines server to it.
    for connection in found.connections:
        if any(name.startswith(OURS) for name in connection.model_ids):
            yield _failure(
                f"connection to {urlsplit(connection.url).netloc}",
                "it has a list of model ids: Open WebUI calls no filter of it",
                f"Empty the list ({_CONNECTIONS}).",
            )
    if not plugins:
        yield _failure(
            "plugins",
            "none of Qwen3Guard's is seen",
            "Run: qwen3guard install. If you did: a connection that is switched off, has a list of model ids or cannot "
            f"be reached hides the plugins of its Pipelines server ({_CONNECTIONS}); ENABLE_FUNCTIONS=false hides "
            "Functions.",
        )


def _server(server: PipelinesServer) -> Iterator[SettingFinding]:
    connection = server.connection
    name = f"Pipelines at {urlsplit(connection.url).netloc}"
    if server.problem:
        yield _failure(name, server.problem, f"See the server's log, and its address and key ({_CONNECTIONS}).")
    elif not connection.key:
        yield _failure(name, "the connection has no key: Open WebUI calls no filter of it", f"Set it ({_CONNECTIONS}).")
    elif connection.key == PUBLIC_KEY:
        yield _failure(
            name,
            "its key is Pipelines' default, which is public",
            f"Start it with a PIPELINES_API_KEY of your own, and put that into {_CONNECTIONS}.",
        )
    else:
        yield _ok(name, f"{counted(len(server.pipelines), 'plugin')}, and a key of its own")


def _plugin(found: Survey, plugin: Plugin) -> Iterator[SettingFinding]:
    problems = [*(_function(plugin) if plugin.function else _pipeline(found, plugin)), *_valves(found, plugin)]
    yield from problems
    if not problems:
        scope = "on for every model" if plugin.is_filter else "on"
        yield _ok(plugin.id, f"{scope}, version {plugin.function.version}" if plugin.function else scope)


def _function(plugin: Plugin) -> Iterator[SettingFinding]:
    function = plugin.function
    assert function is not None
    if not function.is_active:
        yield _failure(plugin.id, "it is switched off", f"Switch it on ({_FUNCTIONS}).")
    elif plugin.is_filter and not function.is_global:
        yield _failure(plugin.id, "it is not on for every model", f"Set it to Global in its menu ({_FUNCTIONS}).")
    if function.version != __version__:
        version = function.version or "unknown"
        yield _warning(
            plugin.id, f"its version is {version}, this one is {__version__}", "Run: qwen3guard install --upgrade"
        )


def _pipeline(found: Survey, plugin: Plugin) -> Iterator[SettingFinding]:
    assert plugin.server is not None
    connection, record = plugin.server.connection, found.record(plugin.id)
    if connection.prefix:
        yield _failure(
            plugin.id,
            f"its connection has the prefix {connection.prefix!r}: Open WebUI calls it by a name that it does not have",
            f"Remove the prefix ({_CONNECTIONS}).",
        )
    elif plugin.is_filter and record is not None and not record.is_active:
        yield _failure(plugin.id, "it is switched off among the models", f"Switch it on ({_MODELS}).")
    elif plugin.is_filter and not any(model.id == plugin.id for model in found.models):
        yield _failure(plugin.id, "Open WebUI does not list it, so it never calls it", f"See {_CONNECTIONS}.")
    if not plugin.in_all_workers:
        yield _failure(
            plugin.id,
            "not all workers of its server have loaded it",
            "Restart the server: an upload reaches one worker only.",
        )
    if not plugin.workers_agree:
        yield _failure(
            plugin.id,
            "workers of its server have different valves",
            "Restart the server. Workers share what is saved on the page only if they share PIPELINES_DIR.",
        )


def _valves(found: Survey, plugin: Plugin) -> Iterator[SettingFinding]:
    valves, where = plugin.valves, _FUNCTIONS if plugin.function else _PIPELINES
    targets = valves.get("pipelines")
    if plugin.is_filter and targets is not None and targets != ["*"]:
        yield _failure(plugin.id, f"it is on for {targets} only", f"Set its valve pipelines to * ({where}).")
    if valves.get("mode") == "monitor":
        yield _failure(plugin.id, "its mode is monitor: it refuses nothing", f"Set mode to enforce ({where}).")
    if valves.get("when_unavailable") == "allow":
        yield _warning(
            plugin.id, "turns without a verdict pass (when_unavailable)", f"Set when_unavailable to withhold ({where})."
        )
    exempt = str(valves.get("exempt_roles") or "none")
    if exempt.lower() != "none":
        yield _warning(plugin.id, f"chats of these roles are not judged: {exempt}", f"See exempt_roles ({where}).")
    refusal = str(valves.get("refusal_model") or "none")
    if refusal.lower() not in ("none", "default"):
        record = found.record(refusal)
        if record is None or not record.is_public or not record.is_active:
            yield _failure(
                plugin.id,
                f"its refusal model {refusal} cannot be read by all users",
                f"Switch it on and make it public ({_MODELS}).",
            )


def _guards(plugins: tuple[Plugin, ...]) -> Iterator[SettingFinding]:
    addresses = sorted({str(one.valves["guard_base_url"]) for one in plugins if one.valves.get("guard_base_url")})
    if len(addresses) > 1:
        shown = ", ".join(str(httpx.URL(one).copy_with(userinfo=b"")) for one in addresses)
        yield _warning("guard", f"the plugins have different ones: {shown}", "See their valves guard_base_url.")


def _direct(allowed: bool) -> Iterator[SettingFinding]:
    if allowed:
        yield _failure(
            "direct connections",
            "users may connect the page with model servers of their own, which nothing judges",
            f"Switch Direct Connections off ({_CONNECTIONS}).",
        )


def _ok(setting: str, found: str) -> SettingFinding:
    return SettingFinding(setting=setting, level=Level.OK, found=found)


def _warning(setting: str, found: str, remedy: str) -> SettingFinding:
    return SettingFinding(setting=setting, level=Level.WARNING, found=found, remedy=remedy)


def _failure(setting: str, found: str, remedy: str) -> SettingFinding:
    return SettingFinding(setting=setting, level=Level.FAILURE, found=found, remedy=remedy)
