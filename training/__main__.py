"""`python -m training`: train the demo guards again. Run it in the guard's environment, which has torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from guard_server import catalog
from guard_server.console_output import errors_reported
from guard_server.errors import ExtraMissing

_TrainingData = Annotated[
    Path, typer.Option(exists=True, file_okay=False, help="Folder of the training data (*.jsonl).")
]
_Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]


@contextmanager
def _in_guard_environment() -> Iterator[None]:
    """A missing package is one of the guard's environment, which has torch and the extra `train`."""
    try:
        yield
    except ModuleNotFoundError as error:
        remedy = "Use the guard's environment: make install, then .venvs/guard/bin/python -m training."
        raise ExtraMissing(error.name, remedy) from error


app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command("gen")
def train_gen_guard(
    data: _TrainingData,
    out_folder: Annotated[Path, typer.Option("--out", help="Where to write the demo guard.")] = catalog.DEMO_FOLDER,
    seed: int = 0,
    threads: _Threads = 2,
) -> None:
    """Train the demo guard from scratch: 20 to 60 minutes on two cores. Reproducible on the same machine."""
    with errors_reported(), _in_guard_environment():
        try:
            from training.gen import train_gen as trainer  # It imports torch.

            trainer.train(data=data, out=out_folder, seed=seed, threads=threads)
        except FileNotFoundError as error:
            raise typer.BadParameter(f"{error.filename} is missing.", param_hint="--data") from error


@app.command("stream")
def train_stream_guard(
    data: _TrainingData,
    gen: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="The demo guard to start from and to take labels from.")
    ] = catalog.DEMO_FOLDER,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Where to write the demo Stream guard.")
    ] = catalog.DEMO_STREAM_FOLDER,
    seed: int = 0,
    threads: _Threads = 2,
) -> None:
    """Train the demo Stream guard on the demo guard: minutes on two cores. Reproducible on the same machine."""
    with errors_reported(), _in_guard_environment():
        try:
            from training.stream import train_stream as trainer  # It imports torch.

            trainer.train(data=data, out=out_folder, gen=gen, seed=seed, threads=threads)
        except FileNotFoundError as error:
            raise typer.BadParameter(f"{error.filename} is missing.", param_hint="--data or --gen") from error


if __name__ == "__main__":
    app()
