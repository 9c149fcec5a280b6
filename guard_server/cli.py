"""Serve a Qwen3Guard, offer moderation APIs in front of one, examine one, evaluate one."""

# Only what `--help` needs is imported here; each command imports the rest itself. A test checks that.
import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from guard_server import __version__, catalog
from guard_server.console_output import err, errors_reported, out, show_what_can_be_shown, warn_if_open
from guard_server.serve.pip_commands import needing
from moderation.policy import Strictness
from moderation.verdict import Category

# Options of several commands: one name and one variable for one thing. `--api-key` is the key that clients must send to
# the server that the command starts; `--guard-key` is the key that the command sends to a guard.
_GuardUrl = Annotated[
    str, typer.Option("--guard-url", envvar="GUARD_URL", help="The guard's OpenAI-compatible address, ending in /v1.")
]
_GuardKey = Annotated[
    str | None,
    typer.Option(
        "--guard-key", envvar=["GUARD_API_KEY", "VLLM_API_KEY"], help="Key that the guard requires.", show_default=False
    ),
]
_GuardModel = Annotated[
    str, typer.Option("--model", help="The guard's model, by its name in /v1/models; auto: the one listed there.")
]
_Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
_Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]
_Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=f"{', '.join(catalog.MODELS)}; a hub id (owner/name); or a folder. Default: {catalog.DEFAULT}.",
        show_default=False,
    ),
]
_Hub = Annotated[Literal["huggingface", "modelscope"], typer.Option(help="Where to download from.")]
_Webui = Annotated[
    str, typer.Option("--webui", envvar="OPEN_WEBUI_URL", help="Address of Open WebUI's page.", show_default=False)
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        help="File with an admin's API key or session token. Without it: the variable OPEN_WEBUI_TOKEN, or a prompt.",
        show_default=False,
    ),
]
_Split = Annotated[list[str] | None, typer.Option(help="Only rows of this split; may be given several times.")]

_GUARD_URL = "http://127.0.0.1:8000/v1"

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    # Typer reads the program's own options from this signature.
    show_what_can_be_shown()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    model: _Model = None,
    host: _Host = "127.0.0.1",
    port: _Port = 8000,
    hub: _Hub = "huggingface",
    max_model_len: Annotated[int, typer.Option(min=1, help="Longest conversation in tokens.")] = catalog.CONTEXT,
    api_key: Annotated[
        str | None,
        typer.Option(envvar=["GUARD_API_KEY", "VLLM_API_KEY"], help="Key that clients must send.", show_default=False),
    ] = None,
) -> None:
    """Serve MODEL on vLLM, with an OpenAI-compatible API. Further options go to vLLM unchanged."""
    from guard_server.serve import serving
    from guard_server.serve.launch import ServeOptions

    if model is not None and model.startswith("-"):
        raise typer.BadParameter(f"name the model before vLLM's own options: serve {catalog.DEFAULT} {model} …")
    with errors_reported():
        if model is None:
            model = catalog.DEFAULT
            out.print(f"No model named: serving {model}. (The demo guard is `serve demo`; it is not for production.)")
        options = ServeOptions(host, port, hub, max_model_len, api_key or None, tuple(context.args))
        serving.serve(model, options)


@app.command()
def download(model: _Model = None, hub: _Hub = "huggingface") -> None:
    """Download MODEL: with HF_HUB_OFFLINE=1, `serve` then needs no network."""
    from guard_server.serve import hub_files

    with errors_reported():
        found = catalog.find(model or catalog.DEFAULT)
        source = found.on(hub) if isinstance(found, catalog.Model) else found
        if source is None or isinstance(source, Path):
            out.print("Nothing to download: the model is on this machine.")
            return
        out.print(f"Downloading {source} from {hub}.", markup=False)
        out.print(f"It is in {hub_files.fetch(source, hub)}.", markup=False)


@app.command()
def api(
    guard_url: _GuardUrl = _GUARD_URL,
    guard_key: _GuardKey = None,
    model: _GuardModel = "auto",
    strictness: Annotated[
        Strictness, typer.Option(help="strict flags Controversial texts, loose does not.")
    ] = "strict",
    host: _Host = "127.0.0.1",
    port: _Port = 8010,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="MODERATION_API_KEY", help="Key that clients must send.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one verdict, retries included.")] = 10,
) -> None:
    """Serve the moderation APIs of OpenAI, Dify and LiteLLM in front of any endpoint of Qwen3Guard-Gen."""
    with errors_reported():
        with needing("api"):
            from guard_server.api.app import build
            from guard_server.api.app import serve as serve_app
        from guard_server.serve.vllm_process import check_port
        from moderation.endpoint.endpoint import Endpoint
        from moderation.errors import EndpointError
        from moderation.policy import Policy

        check_port(host, port)
        warn_if_open(host, api_key)
        endpoint = Endpoint(guard_url, guard_key or "EMPTY", model, timeout, refusals=True)

        async def look() -> None:
            try:
                await endpoint.learn()
            except EndpointError as problem:
                err.print(f"Warning: no guard yet: {problem}", style="yellow", markup=False)
                err.print(f"  Until it answers, nothing passes. Try: qwen3guard doctor --guard-url {guard_url}")

        out.print(f"Moderation on http://{host}:{port}/v1, judged by {guard_url}. Ctrl-C stops it.", markup=False)
        policy = Policy(strictness=strictness)
        serve_app(build(endpoint, policy, api_key or None, timeout=timeout, first=look), host, port)
        out.print("Stopped.")


@app.command("doctor")
def examine(
    guard_url: _GuardUrl = _GUARD_URL,
    guard_key: _GuardKey = None,
    model: _GuardModel = "auto",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for one reply.")] = 10,
    pipelines: Annotated[
        str | None,
        typer.Option(help="Address of the Pipelines server, whose key is checked too.", show_default=False),
    ] = None,
    webui: Annotated[
        str | None,
        typer.Option(
            help="Address of Open WebUI's page: check in place of a guard whether its users are protected.",
            show_default=False,
        ),
    ] = None,
    token_file: _TokenFile = None,
    user_token_file: Annotated[
        Path | None,
        typer.Option(
            help="With --webui: file with the token of an ordinary user to ask as. Without it, a user is made, and "
            "removed again.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(min=1, help="With --webui: repeat after so many seconds.", show_default=False),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            envvar="QWEN3GUARD_WEBHOOK",
            help="With --watch: address that gets the report as JSON when the answer changes.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, for scripts.")] = False,
) -> None:
    """Check a guard, or the protection of an Open WebUI, and report problems with remedies. Status 1 on a failure."""
    if webui is None and (watch is not None or user_token_file is not None):
        raise typer.BadParameter("--watch and --user-token-file need --webui")
    if webui is not None:
        with errors_reported():
            from guard_server.doctor.protection import protection_command

            protection_command.check(
                protection_command.Wanted(
                    webui, token_file, user_token_file, as_json=as_json, watch=watch, webhook=webhook
                )
            )
        return
    from guard_server.doctor import examination, table

    report = asyncio.run(examination.examine(guard_url, guard_key or None, model, timeout, pipelines))
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        table.show(report, out)
    sys.exit(0 if report.healthy else 1)


@app.command()
def install(
    webui: _Webui,
    token_file: _TokenFile = None,
    host: Annotated[
        Literal["functions", "pipelines"] | None,
        typer.Option(
            help="What runs the plugins: Open WebUI itself, or a Pipelines server. At first: functions.",
            show_default=False,
        ),
    ] = None,
    protect: Annotated[
        Literal["models", "filter", "both"] | None,
        typer.Option(
            help="models: guarded models take the place of the direct ones. filter: models stay, and a filter judges "
            "what is asked. both: models keep their names, and guarded ones answer for them. At first: models.",
            show_default=False,
        ),
    ] = None,
    guard_url: Annotated[
        str | None,
        typer.Option(
            "--guard-url",
            envvar="GUARD_URL",
            help=f"The guard's address, ending in /v1, as the plugins' host sees it. At first: {_GUARD_URL}.",
            show_default=False,
        ),
    ] = None,
    guard_key: _GuardKey = None,
    pipelines: Annotated[
        str | None,
        typer.Option(
            help="Address of the Pipelines server, as Open WebUI sees it, if it is not connected yet; its key is read "
            "from PIPELINES_API_KEY.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Replace the plugins by this version's.")] = False,
    remove: Annotated[bool, typer.Option("--uninstall", help="Put back what was before.")] = False,
    record: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File for what was before. Default: one in ~/.local/state/qwen3guard."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="At the end, ask in every way as a user would: see doctor.")
    ] = True,
) -> None:
    """Protect the users of an Open WebUI: upload the plugins, set them, move users to them, and check the result."""
    import os

    from guard_server.install import installation
    from guard_server.install.options import HostKind, Options, Protect
    from guard_server.open_webui.admin_token import read_token
    from guard_server.open_webui.client import WebuiClient

    def say(line: str) -> None:
        out.print(line, markup=False)

    if remove and upgrade:
        raise typer.BadParameter("--upgrade and --uninstall exclude each other")
    with errors_reported(), WebuiClient(webui, read_token(token_file)) as client:
        undo_record = installation.open_record(client, record)
        if remove:
            sys.exit(0 if installation.uninstall(client, undo_record, say, dry_run=dry_run) else 1)
        earlier = undo_record.content
        options = Options(
            HostKind(host or (earlier.host if earlier else "functions")),
            Protect(protect or (earlier.protect if earlier else "models")),
            guard_url or (None if earlier else _GUARD_URL),
            guard_key,
            pipelines,
            os.environ.get("PIPELINES_API_KEY"),
            upgrade,
        )
        installation.install(client, options, undo_record, say, dry_run=dry_run)
        if dry_run or not check:
            return
        from guard_server.doctor.protection.check import check_protection
        from guard_server.doctor.protection.protection_table import show_protection

        report = check_protection(client, say=say)
        show_protection(report, out)
        sys.exit(0 if report.protected else 1)


@app.command("eval")
def evaluate(
    data: Annotated[
        list[str],
        typer.Option(
            help="Labelled rows: a JSON Lines file, a folder of such files, a data set's hub id, or ID=FOLDER for a "
            "copy of that data set; may be given several times.",
            show_default=False,
        ),
    ],
    guard_url: _GuardUrl = _GUARD_URL,
    guard_key: _GuardKey = None,
    model: _GuardModel = "auto",
    out_folder: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Results and report; name it again to continue a run.")
    ] = Path("eval-results"),
    split: _Split = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many rows of each set, always the same.", show_default=False),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Rows that are judged at the same time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for one verdict, retries included.")] = 30,
    retry: Annotated[bool, typer.Option("--retry", help="Ask again for all rows without a verdict.")] = False,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="Judge each row with obfuscated text as well, by the visible reading only and by both: emoji, base64, "
            "… or all; may be given several times."
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="`published`, or the folder of another run; may be given several times."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Find the threshold with at most this false-positive rate.", show_default=False
        ),
    ] = None,
) -> None:
    """Measure a guard's accuracy and speed on labelled rows. Stop it at any time and run it again to continue."""
    with errors_reported():
        with needing("eval"):
            from guard_server.evaluation import command
            from guard_server.evaluation.ask import runner
        options = command.EvaluationOptions(
            target=runner.Target(guard_url.rstrip("/"), guard_key or "EMPTY", model, timeout, concurrency),
            data=data,
            out=out_folder,
            splits=split or [],
            sample=sample,
            retry=retry,
            attacks=attack or [],
            compare=compare or [],
            wanted=threshold,
        )
        # Imported only for data sets from the hub.
        with needing("datasets"):
            command.evaluate(options, out)


@app.command()
def splice(
    data: Annotated[
        list[str],
        typer.Option(
            help="Labelled rows, named as for `eval`: Safe answers and Unsafe prompts; may be given several times.",
            show_default=False,
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", dir_okay=False, help="File for the answers, as JSON Lines.")],
    split: _Split = None,
    category: Annotated[
        list[Category] | None,
        typer.Option(help="Only sentences of this category, by its name; may be given several times."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of answers.")] = 500,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers.")] = 0,
) -> None:
    """Make harmless answers with one unsafe sentence at a known place: `eval` says how soon a Stream model flags it."""
    with errors_reported():
        from guard_server.evaluation.data import sources, splices

        with needing("datasets"):
            rows = sources.chosen(data, split or [])
        lines = list(splices.splices(rows, count, seed, category or []))
        out_file.write_text("".join(lines), encoding="utf-8")
        out.print(f"{len(lines)} answers in {out_file}.", markup=False)
