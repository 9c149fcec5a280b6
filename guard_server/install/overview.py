"""What an admin is told of an Open WebUI before anything is changed."""

from collections.abc import Iterator

from guard_server.console_output import counted, enumerated
from guard_server.install.options import HostKind, Options, Protect
from guard_server.install.plugin_files import FUNCTION_FILTER, FUNCTION_MODELS, plugin_file
from guard_server.open_webui.records import OURS
from guard_server.open_webui.survey import Survey

_NO_MODEL = (
    "No model is open to users, so none is moved. Open the guarded ones to them later, not the direct ones; or open "
    "the direct ones, and run this command again."
)
_AWAY = (
    "Open to users, but not listed now, so not moved: {}. If their server is away, run this command again when it is "
    "back. If they are gone, delete them (Admin Panel > Settings > Models)."
)


def overview(seen: Survey, options: Options) -> Iterator[str]:
    """Its lines."""
    yield _what_is_there(seen)
    if options.has_models:
        yield from _what_is_not_moved(seen, options)
    if not options.upgrade:
        yield from _what_is_old(seen)


def _what_is_there(seen: Survey) -> str:
    found = [
        counted(seen.users, "account"),
        counted(len(seen.connections), "connection"),
        *(["Ollama"] if seen.ollama_enabled else []),
        counted(len(seen.models), "model"),
        counted(len(seen.presets), "preset"),
        counted(len(seen.pipelines), "Pipelines server"),
        counted(len(seen.functions), "Function"),
    ]
    return f"Open WebUI {seen.version}: {', '.join(found)}."


def _what_is_not_moved(seen: Survey, options: Options) -> Iterator[str]:
    if not any(seen.may_read(one.id) for one in seen.chat_models):
        yield _NO_MODEL
    listed = {one.id for one in seen.models}
    direct = [one for one in seen.records if not (one.is_preset or one.id.startswith(OURS))]
    away = [one.id for one in direct if one.is_active and one.readers and one.id not in listed]
    # A Pipelines server guards all models of a connection, and the connection is switched off.
    if away and options.host is HostKind.FUNCTIONS and options.protect is Protect.MODELS:
        yield _AWAY.format(enumerated(away))


def _what_is_old(seen: Survey) -> Iterator[str]:
    """Functions say their version; the plugins of a Pipelines server do not."""
    for plugin in (FUNCTION_MODELS, FUNCTION_FILTER):
        there, new = seen.function(plugin), plugin_file(plugin)
        if there and there.version != new.version:
            version = there.version or "of an unknown version"
            yield f"{plugin} {version} is installed: --upgrade replaces it by {new.version}."
