"""`qwen3guard install`: looks, plans, and carries the plan out, or undoes an earlier one."""

from collections.abc import Sequence
from pathlib import Path

from guard_server.console_output import counted
from guard_server.errors import CannotInstall, NotOpenWebui, RecordUnusable, WebuiRefused, WebuiUnreachable
from guard_server.install import functions_plan, pipelines_plan
from guard_server.install.options import HostKind, Options, Protect
from guard_server.install.overview import overview
from guard_server.install.plugin_files import FUNCTION_MODELS, PIPELINES_MODELS
from guard_server.install.steps import Say, SetupStep, carry_out, open_again, undo
from guard_server.install.undo_record import UndoRecord, default_path
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import ModelRecord
from guard_server.open_webui.survey import models, records, survey

_BEFORE = "{} has what was before; --uninstall puts it back."
_ALL_THERE = "All of it was here before this command's first run: --uninstall puts nothing back."
_REBUILD = "the preset {}: its base {} is gone; choose another (Workspace > Models)"
_BY_HAND = (
    "By hand: a user or a group may have a default model of its own, which still names a direct one (docs/install.md)."
)


def open_record(client: WebuiClient, path: Path | None) -> UndoRecord:
    """Raises RecordUnusable."""
    return UndoRecord(path or default_path(client.url), client.url)


def install(client: WebuiClient, options: Options, record: UndoRecord, say: Say, *, dry_run: bool) -> None:
    """Does all that is not done yet. It can be stopped at any moment, and continued by the same command.

    Raises:
        WebuiError
    """
    client.check_admin()
    _open_again(client, record, say, dry_run=dry_run)
    say(f"Looking at {client.url}")
    seen = survey(client)
    for line in overview(seen, options):
        say(line)
    _check_earlier(record, options)
    plan = functions_plan.plan if options.host is HostKind.FUNCTIONS else pipelines_plan.plan
    steps = plan(client, seen, options)
    if dry_run:
        _show(client, steps, say)
        return
    record.begin(options.host, options.protect)
    try:
        done = carry_out(client, steps, record, say)
    except (WebuiRefused, WebuiUnreachable, NotOpenWebui) as error:
        raise CannotInstall(
            error.cause, f"{error.remedy} What was done is in {record.path}: run the command again, or --uninstall."
        ) from None
    before = _BEFORE.format(record.path) if record.changes() else _ALL_THERE
    say(f"{counted(done, 'step')} done. {before}")
    if options.protect is Protect.MODELS:
        say(_BY_HAND)


def uninstall(client: WebuiClient, record: UndoRecord, say: Say, *, dry_run: bool = False) -> bool:
    """Puts back what was before. False if something was left: it is said, with the reason.

    Raises:
        WebuiError
    """
    client.check_admin()
    if record.content is None:
        raise RecordUnusable(
            f"There is no record of an installation at {record.path}.",
            "Name its file with --record, or remove the plugins by hand: docs/functions.md, docs/guarded-models.md.",
        )
    _open_again(client, record, say, dry_run=dry_run)
    if not record.changes():
        if not dry_run:
            record.remove()
        raise RecordUnusable(
            f"{record.path} has nothing to put back: all was here before that run.",
            "If this Open WebUI was set up from another machine or under another address, name that record with "
            "--record. If not, remove the plugins by hand: docs/functions.md, docs/guarded-models.md.",
        )
    left = undo(client, record, say, dry_run=dry_run)
    if dry_run:
        for line in left:
            say(f"To be left: {line}")
        say("This is the plan. Nothing was changed.")
        return True
    left += [_REBUILD.format(one.id, one.base) for one in _presets_without_base(client)]
    for line in left:
        say(f"Left: {line}")
    say(
        "Everything else is as before. The audit files stay."
        if left
        else "Everything is as before. The audit files stay."
    )
    return not left


def _open_again(client: WebuiClient, record: UndoRecord, say: Say, *, dry_run: bool) -> None:
    """A run that was killed while it replaced a filter may have left connections off."""
    places = [change.place for change in record.closed()] if dry_run else open_again(client, record)
    for place in places:
        say(f"{'To put' if dry_run else 'Put'} back: {place}, which a run that was stopped has left off")


def _presets_without_base(client: WebuiClient) -> list[ModelRecord]:
    """Those that somebody has built on guarded models since."""
    ours = tuple(f"{plugin}." for plugin in (FUNCTION_MODELS, PIPELINES_MODELS))
    built = [one for one in records(client) if (one.base or "").startswith(ours)]
    offered = {one.id for one in models(client)} if built else set()
    return [one for one in built if one.base not in offered]


def _check_earlier(record: UndoRecord, options: Options) -> None:
    """One way to protect at a time: its steps are undone before another's are done."""
    earlier = record.content
    if earlier is not None and (earlier.host, earlier.protect) != (options.host, options.protect):
        raise CannotInstall(
            f"--host {earlier.host} --protect {earlier.protect} is installed here.",
            "Run --uninstall first, or leave these options out.",
        )


def _show(client: WebuiClient, steps: Sequence[SetupStep], say: Say) -> None:
    say("The plan. Nothing was changed.")
    for step in steps:
        say(f"  {'(done) ' if _is_done(client, step) else ''}{step.title}")


def _is_done(client: WebuiClient, step: SetupStep) -> bool | None:
    try:
        return step.is_done(client)
    except (WebuiRefused, CannotInstall):
        # What it is about is made by an earlier step.
        return False
