"""The demo guard on sources that it was not trained on, compared with TF-IDF: `make bench-demo`.

Runs in the guard's environment. Cross-validation by source: the sources of the training data, in alphabetical order,
are distributed to four folds. For each fold the demo guard (Gen) is trained without the fold's sources, as by
`training gen`. On the same rows a logistic regression over TF-IDF of characters (1 to 5) and words (1 and 2) is
trained, one for prompts and one for answers. Both judge the fold's rows, at most `PER_SOURCE` of one source, kind and
severity. Controversial rows are left out. The last line is one JSON object.
"""

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline, make_union

from moderation.conversation import Conversation
from moderation.verdict import Kind, Severity
from training.gen import draw, train_gen, training_rows
from training.gen.training_rows import TrainingRow
from training.stream.judge import GenJudge

FOLDS = 4
PER_SOURCE = 250
SEED = 0
RUN = Path(__file__).parent.parent / ".run/bench-demo"
# Most bytes of the judged turn and of each turn before it: the demo guard's context is short.
TURN, EARLIER = 2000, 200
KINDS: tuple[Kind, ...] = get_args(Kind)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the training data.")] = Path("../shared/data/train"),
    threads: Annotated[int, typer.Option(help="Of the training.")] = 2,
    only: Annotated[list[int] | None, typer.Option(help="These folds alone.")] = None,
) -> None:
    console = Console(stderr=True)
    read = training_rows.read(data, "train")
    found: list[dict[str, Any]] = []
    for fold, sources in enumerate(folds(read)):
        if only and fold not in only:
            continue
        console.print(f"fold {fold}: without {', '.join(sources)}")
        asked = held_out(read, sources)
        train_gen.train(data, RUN / str(fold), seed=SEED, threads=threads, leave_out=sources, say=console.print)
        # P(not Safe).
        ours = 1 - GenJudge(RUN / str(fold), console.print).probabilities([conversation(row) for row in asked])[:, 0]
        theirs = baseline(draw.learnt(data, sources), asked)
        found += [
            {
                "fold": fold,
                "kind": row.kind,
                "unsafe": row.severity is Severity.UNSAFE,
                "ours": float(a),
                "tfidf": float(b),
            }
            for row, a, b in zip(asked, ours, theirs, strict=True)
        ]
    console.print(table(found))
    print(json.dumps({kind: summary([each for each in found if each["kind"] == kind]) for kind in KINDS}))


def folds(read: list[TrainingRow]) -> list[list[str]]:
    """Source groups, distributed in alphabetical order."""
    names = sorted({row.source for row in read})
    return [names[number::FOLDS] for number in range(FOLDS)]


def held_out(read: list[TrainingRow], sources: list[str]) -> list[TrainingRow]:
    """The rows of `sources` to judge."""
    groups: dict[tuple[str, str, str], list[TrainingRow]] = defaultdict(list)
    for row in read:
        if row.source in sources and row.severity is not Severity.CONTROVERSIAL:
            groups[row.source, row.kind, row.severity].append(row)
    rng = random.Random(SEED)
    return [row for key in sorted(groups) for row in rng.sample(groups[key], min(PER_SOURCE, len(groups[key])))]


def conversation(row: TrainingRow) -> Conversation:
    """A row's turns, shortened as in the demo guard's training."""
    *earlier, last = row.turns
    context = (turn._replace(text=draw.shortened(turn.text, EARLIER)) for turn in earlier[-3:])
    return (*context, last._replace(text=draw.shortened(last.text, TURN)))


def baseline(learnt: list[TrainingRow], asked: list[TrainingRow]) -> Any:
    """P(Unsafe) of each row by TF-IDF and logistic regression."""
    drawn = [*draw.repeated(learnt, random.Random(SEED))]
    found = np.zeros(len(asked))
    for kind in KINDS:
        features = make_union(
            TfidfVectorizer(
                analyzer="char_wb",
                ngram_range=(1, 5),
                sublinear_tf=True,
                min_df=3,
                max_features=400_000,
                dtype=np.float32,
            ),
            TfidfVectorizer(
                ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, min_df=2, dtype=np.float32
            ),
        )
        model = make_pipeline(features, LogisticRegression(solver="liblinear", random_state=0))
        known = [row for row in drawn if row.kind == kind and row.severity is not Severity.CONTROVERSIAL]
        model.fit([text(row) for row in known], [row.severity is Severity.UNSAFE for row in known])
        places = [place for place, row in enumerate(asked) if row.kind == kind]
        found[places] = model.predict_proba([text(asked[place]) for place in places])[:, 1]
    return found


def text(row: TrainingRow) -> str:
    return row.turns[-1].text


def summary(found: list[dict[str, Any]]) -> dict[str, float]:
    """F1, false-positive rate (at 0.5) and area under the ROC curve of both; our F1 at TF-IDF's false-positive rate."""
    unsafe = np.array([each["unsafe"] for each in found])
    figures: dict[str, float] = {}
    for name in ("ours", "tfidf"):
        probabilities = np.array([each[name] for each in found])
        f1, rate = at(unsafe, probabilities, 0.5)
        area = float(roc_auc_score(unsafe, probabilities))
        figures |= {f"{name}_f1": f1, f"{name}_fpr": rate, f"{name}_area": area}
    ours = np.array([each["ours"] for each in found])
    cut = np.quantile(ours[~unsafe], 1 - figures["tfidf_fpr"]) + 1e-9
    figures["ours_f1_at_tfidf_fpr"], _ = at(unsafe, ours, cut)
    return {name: round(figure, 3) for name, figure in figures.items()}


def at(unsafe: Any, probabilities: Any, cut: float) -> tuple[float, float]:
    """F1 and false-positive rate."""
    flagged = probabilities >= cut
    f1 = 2 * (flagged & unsafe).sum() / max(1, flagged.sum() + unsafe.sum())
    return float(f1), float((flagged & ~unsafe).sum() / max(1, (~unsafe).sum()))


def table(found: list[dict[str, Any]]) -> Table:
    shown = Table(
        "fold", "kind", "ours: F1, FPR, area", "TF-IDF: F1, FPR, area", "ours at its FPR", title="Sources left out"
    )
    for fold in [*sorted({each["fold"] for each in found}), None]:
        for kind in KINDS:
            figures = summary([each for each in found if each["kind"] == kind and fold in (None, each["fold"])])
            cells = [
                ", ".join(f"{figures[f'{name}_{of}']:.3f}" for of in ("f1", "fpr", "area"))
                for name in ("ours", "tfidf")
            ]
            shown.add_row("all" if fold is None else str(fold), kind, *cells, f"{figures['ours_f1_at_tfidf_fpr']:.3f}")
    return shown


if __name__ == "__main__":
    typer.run(main)
