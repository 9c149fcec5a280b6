"""`python -m guard_server`: serve a Qwen3Guard, offer moderation APIs in front of one, examine, evaluate, train one."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from guard_server import catalog, doctor, doctor_table, serving
from guard_server.console import err, errors_told, needing, out, warn_if_open
from guard_server.launch import CONTEXT, Options
from guard_server.server import check_port
from moderation.endpoint import Endpoint
from moderation.errors import EndpointError
from moderation.guard import Guard
from moderation.policy import Policy
from moderation.verdict import Category

# Options that several commands have.
_GuardUrl = Annotated[str, typer.Option(envvar="GUARD_URL", help="The guard's address, as the OpenAI SDK takes it.")]
_GuardModel = Annotated[str, typer.Option(help="The guard's model, as /v1/models names it.")]
_Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
_Port = Annotated[int, typer.Option(min=1, max=65535)]
_TrainingData = Annotated[
    Path, typer.Option(exists=True, file_okay=False, help="Folder of the training data (*.jsonl).")
]
_Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
_Split = Annotated[list[str] | None, typer.Option(help="Only rows of this split; may be given several times.")]

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _main() -> None:
    # A callback makes Typer keep the names of the commands even where there is one only.
    pass


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help=f"{', '.join(catalog.MODELS)}; a hub id (owner/name); or a folder. Default: {catalog.DEFAULT}.",
            show_default=False,
        ),
    ] = None,
    host: _Host = "127.0.0.1",
    port: _Port = 8000,
    hub: Annotated[Literal["huggingface", "modelscope"], typer.Option(help="Where to download from.")] = "huggingface",
    max_model_len: Annotated[int, typer.Option(min=1, help="Longest conversation in tokens.")] = CONTEXT,
    api_key: Annotated[
        str | None,
        typer.Option(envvar=["GUARD_API_KEY", "VLLM_API_KEY"], help="Key that clients must send.", show_default=False),
    ] = None,
) -> None:
    """Serve MODEL on vLLM, with an OpenAI-compatible API. Further options go to vLLM as they are."""
    if model is not None and model.startswith("-"):
        raise typer.BadParameter(f"name the model before vLLM's own options: serve {catalog.DEFAULT} {model} …")
    with errors_told():
        if model is None:
            model = catalog.DEFAULT
            out.print(f"No model named: serving {model}. (The demo guard is `serve demo`; it is not for production.)")
        options = Options(host, port, hub, max_model_len, api_key or None, tuple(context.args))
        serving.serve(model, options)


@app.command()
def api(
    guard_url: _GuardUrl = "http://127.0.0.1:8000/v1",
    guard_key: Annotated[
        str | None, typer.Option(envvar="GUARD_API_KEY", help="Key that the guard wants.", show_default=False)
    ] = None,
    model: _GuardModel = "auto",
    strictness: Annotated[
        Literal["strict", "loose"], typer.Option(help="strict flags Controversial texts, loose does not.")
    ] = "strict",
    host: _Host = "127.0.0.1",
    port: _Port = 8010,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="MODERATION_API_KEY", help="Key that clients must send.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one verdict.")] = 10,
) -> None:
    """Serve /v1/moderations (OpenAI's) and /v1/dify/moderation in front of any endpoint of Qwen3Guard-Gen."""
    with errors_told():
        with needing("api"):
            from guard_server.api.app import build
            from guard_server.api.app import serve as serve_app
        check_port(host, port)
        warn_if_open(host, api_key)
        endpoint = Endpoint(guard_url, guard_key or "EMPTY", model, timeout, refusals=True)

        async def look() -> None:
            try:
                await endpoint.learn()
            except EndpointError as problem:
                err.print(f"Warning: no guard yet: {problem}", style="yellow", markup=False)
                err.print(f"  Until it answers, nothing passes. Try: python -m guard_server doctor --url {guard_url}")

        guard = Guard(endpoint, timeout=timeout)
        out.print(f"Moderation on http://{host}:{port}/v1, judged by {guard_url}. Ctrl-C stops it.", markup=False)
        serve_app(build(guard, Policy(strictness=strictness), api_key or None, look), host, port)
        out.print("Stopped.")


@app.command("doctor")
def examine(
    url: _GuardUrl = "http://127.0.0.1:8000/v1",
    api_key: Annotated[
        str | None, typer.Option(envvar="GUARD_API_KEY", help="Key that the guard wants.", show_default=False)
    ] = None,
    model: _GuardModel = "auto",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for one reply.")] = 10,
    pipelines: Annotated[
        str | None,
        typer.Option(help="Address of the Pipelines server, whose key is looked at too.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, for scripts.")] = False,
) -> None:
    """Say what is right and wrong with a guard, and what to do about it. Status 1 if something failed."""
    report = asyncio.run(doctor.examine(url, api_key or None, model, timeout, pipelines))
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        doctor_table.show(report, out)
    sys.exit(0 if report.healthy else 1)


@app.command()
def train_demo(
    data: _TrainingData,
    out_folder: Annotated[Path, typer.Option("--out", help="Where to write the demo guard.")] = catalog.DEMO_FOLDER,
    seed: int = 0,
    threads: _Threads = 2,
) -> None:
    """Train the demo guard from scratch: 20 to 60 minutes on two cores; equal weights on one machine."""
    with errors_told(), needing("cpu,train"):
        try:
            from guard_server.demo_gen import train as trainer  # It imports torch.

            trainer.train(data=data, out=out_folder, seed=seed, threads=threads)
        except FileNotFoundError as error:
            raise typer.BadParameter(f"{error.filename} is missing.", param_hint="--data") from error


@app.command()
def train_demo_stream(
    data: _TrainingData,
    gen: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="The demo guard that it starts from and learns of.")
    ] = catalog.DEMO_FOLDER,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Where to write the demo Stream guard.")
    ] = catalog.DEMO_STREAM_FOLDER,
    seed: int = 0,
    threads: _Threads = 2,
) -> None:
    """Train the demo Stream guard on the demo guard: minutes on two cores; equal weights on one machine."""
    with errors_told(), needing("cpu,train"):
        try:
            from guard_server.demo_stream import train as trainer  # It imports torch.

            trainer.train(data=data, out=out_folder, gen=gen, seed=seed, threads=threads)
        except FileNotFoundError as error:
            raise typer.BadParameter(f"{error.filename} is missing.", param_hint="--data or --gen") from error


@app.command("eval")
def evaluate(
    data: Annotated[
        list[str],
        typer.Option(
            help="Labelled rows: a JSON Lines file, a folder of some, a data set's hub id, or ID=FOLDER for a copy of "
            "it; may be given several times.",
            show_default=False,
        ),
    ],
    url: Annotated[
        str, typer.Option(help="Address of Qwen3Guard-Gen or -Stream, ending in /v1.")
    ] = "http://localhost:8000/v1",
    api_key: Annotated[
        str, typer.Option(envvar=["GUARD_API_KEY", "VLLM_API_KEY"], help="Its key.", show_default=False)
    ] = "EMPTY",
    model: Annotated[str, typer.Option(help="Model name there; auto takes the one that it lists.")] = "auto",
    out_folder: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Results and report; name it again to go on.")
    ] = Path("eval-results"),
    split: _Split = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="At most so many rows of each set, always the same.", show_default=False)
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Rows that are judged at the same time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for one verdict, retries included.")] = 30,
    retry: Annotated[bool, typer.Option("--retry", help="Ask again wherever no verdict came.")] = False,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="Judge each row disguised as well, by what is seen alone and by both readings: emoji, base64, … "
            "or all; may be given several times."
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="`published`, or the folder of another run; may be given several times."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Find the cut with at most this false-positive rate.", show_default=False),
    ] = None,
) -> None:
    """Measure a guard on labelled rows: how right, how fast. Stop it at any time and run it again to go on."""
    with errors_told():
        with needing("eval"):
            from guard_server.evaluation import command, run  # They import scikit-learn and matplotlib.
        command.evaluate(
            command.Options(
                target=run.Target(url.rstrip("/"), api_key, model, timeout, concurrency),
                data=data,
                out=out_folder,
                splits=split or [],
                sample=sample,
                retry=retry,
                attacks=attack or [],
                compare=compare or [],
                wanted=threshold,
            ),
            out,
        )


@app.command()
def splice(
    data: Annotated[
        list[str],
        typer.Option(
            help="Labelled rows, named as for `eval`: Safe answers and Unsafe prompts; may be given several times.",
            show_default=False,
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", dir_okay=False, help="Where to write them, as JSON Lines.")],
    split: _Split = None,
    category: Annotated[
        list[Category] | None,
        typer.Option(help="Only sentences of this category, by its name in the data; may be given several times."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many to make.")] = 500,
    seed: Annotated[int, typer.Option(help="The same seed makes the same answers.")] = 0,
) -> None:
    """Make harmless answers with one unsafe sentence at a known place: `eval` says how soon a Stream model flags it."""
    with errors_told():
        from guard_server.evaluation import data as sources
        from guard_server.evaluation import splices

        with needing("eval"):
            rows = sources.chosen(data, split or [])
        lines = list(splices.splices(rows, count, seed, category or []))
        out_file.write_text("".join(lines), encoding="utf-8")
        out.print(f"{len(lines)} answers in {out_file}.", markup=False)
