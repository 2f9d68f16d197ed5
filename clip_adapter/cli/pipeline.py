"""Commands that run the pipeline: extract, train, demo, reproduce."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group

from clip_adapter.cli import summaries
from clip_adapter.cli.options import Json, Root, parse_shots
from clip_adapter.cli.requests import Prefect, from_options, run
from clip_adapter.cli.several import (
    exit_if_some_failed,
    print_escaped,
    protocol_summary,
    show_in_turn,
    show_protocols,
    show_tables,
)
from clip_adapter.datasets import IMPORTED
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import (
    ALL_DATASETS,
    DatasetRequest,
    ExtractRequest,
    ReproduceRequest,
    TrainRequest,
)
from clip_adapter.runs import OPEN_VOCABULARY, with_words
from clip_adapter.settings import Settings
from clip_adapter.shots import shots_in_words, shots_to_text
from clip_adapter.terminal import plain_console

if TYPE_CHECKING:
    from clip_adapter.pipeline.ablations import Reproduction
    from clip_adapter.pipeline.dry_run import DryRun
    from clip_adapter.pipeline.reproduce_all import ReproducedDatasets
    from clip_adapter.pipeline.train import Training
    from clip_adapter.report import OpenVocabulary, Study
    from clip_adapter.report.numbers import Mean
    from clip_adapter.report.selection_costs import SelectionCosts


TableShots = Annotated[
    str | None,
    typer.Option(
        "--table-shots",
        metavar="K,...",
        help="Of several datasets, the numbers of shots to show a table for at the end; else the largest.",
        show_default=False,
    ),
]


@from_options(ExtractRequest, required=("dataset",), repeatable=("dataset", "model"))
def extract(
    requests: list[ExtractRequest], prefect: Prefect = False, as_json: Json = False
) -> None:
    """Encode a dataset's images and prompts once into the feature cache."""
    shown: dict[str, Any] = {
        "summarise": summaries.extraction_summary,
        "show": _show_extraction,
        "as_json": as_json,
    }
    if len(requests) == 1:
        _show_one("extract_features", requests[0], prefect=prefect, **shown)
        return
    outcomes = show_in_turn(
        requests, lambda request: run("extract_features", request, prefect=prefect), **shown
    )
    _exit_if_some_failed(outcomes)


@from_options(TrainRequest, required=("dataset",), repeatable=("dataset", "model"))
def train(
    requests: list[TrainRequest],
    table_shots: TableShots = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only show what is there, what would be trained, and on which images."
        ),
    ] = False,
    prefect: Prefect = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate few-shot methods on cached features, and record every run.

    Of several datasets and models, every pair is trained one after the other, and a table of datasets and
    methods follows at the end.
    """
    shots = parse_shots(table_shots) if table_shots else None
    if shots:
        _check_table_shots(shots, requests, is_shown=not dry_run and not as_json)
    if dry_run:
        if prefect:
            message = (
                "--prefect is given together with --dry-run, which runs nothing: leave one out"
            )
            raise typer.BadParameter(message)
        _show_dry_runs(requests, as_json=as_json)
        return
    shown: dict[str, Any] = {
        "summarise": _training_summary,
        "show": _show_training,
        "as_json": as_json,
    }
    if len(requests) == 1:
        _show_one("train_adapters", requests[0], prefect=prefect, **shown)
        return
    from clip_adapter.pipeline.train_all import TrainedDatasets, check_training  # noqa: PLC0415

    outcomes = show_in_turn(
        requests,
        lambda request: run("train_adapters", request, prefect=prefect),
        check=check_training,
        **shown,
    )
    done = TrainedDatasets.of(outcomes)
    if not as_json and len({request.dataset for request in requests}) > 1:
        is_base_to_new = requests[0].protocol == "base-to-new"
        what = "harmonic mean of base and new" if is_base_to_new else "test accuracy"
        if requests[0].budget:
            what += f", budget of {requests[0].budget} images"
        show_tables(plain_console(), done.tables(shots), what=what)
    _exit_if_some_failed(outcomes)


def _show_dry_runs(requests: Sequence[TrainRequest], *, as_json: bool) -> None:
    from clip_adapter.pipeline.dry_run import dry_run  # noqa: PLC0415  # when it is called

    # Models are encoded one after the other and draw the same images.
    by_dataset = {request.dataset: request for request in requests}
    found = [dry_run(each, reporter=Reporter()) for each in by_dataset.values()]
    if as_json:
        rows = [
            asdict(each)
            | {"draws": [asdict(draw) | {"digest": draw.digest} for draw in each.draws]}
            for each in found
        ]
        summaries.print_json(rows if len(rows) > 1 else rows[0])
        return
    console = plain_console()
    for each in found:
        _show_dry_run(console, each)
    print_escaped(console, "nothing was trained or written: leave out --dry-run to train", style="")


def _show_dry_run(console: Console, found: "DryRun") -> None:
    state = f": {found.state}" if found.state else ""
    print_escaped(console, f"{found.dataset}{state}", style="bold")
    if found.next_step:
        print_escaped(console, f"  first: {found.next_step}", style="")
    print_escaped(console, f"  {found.n_runs} runs of {', '.join(found.methods)}", style="")
    if found.problem:
        print_escaped(console, f"  images are not known: {found.problem}", style="")
    elif found.ranked_by == "path":
        print_escaped(
            console,
            "  images ranked by their paths, as their contents are not known here: as many as training "
            "takes of each class, but others",
            style="",
        )
    for draw in found.draws:
        counts = f"{len(draw.train):,} images to train on, {len(draw.val):,} to validate"
        print_escaped(
            console,
            f"  {shots_in_words(draw.shots)}, seed {draw.seed}: {counts}, digest {draw.digest[:12]}; "
            f"{', '.join(draw.train[:2])}, ...",
            style="",
        )
    if found.draws:
        print_escaped(console, "  --json lists every file", style="")


def demo(root: Root = None, prefect: Prefect = False, as_json: Json = False) -> None:
    """The whole path on real handwritten digits: encode, train, ask."""
    places = Settings.of(root=root)
    console = plain_console(stderr=as_json)
    console.print(
        "Encoding 1,797 handwritten digits with the built-in CLIP, then training adapters\n"
        f"on the cached features. Everything is written to\n{places.location}\n",
        soft_wrap=True,
    )
    _show_one(
        "train_adapters",
        TrainRequest(dataset="digits", model="glyphs", root=root),
        summarise=_training_summary,
        show=_show_training,
        prefect=prefect,
        as_json=as_json,
    )
    if not as_json:
        _show_files_and_next_steps(console, places.workspace)


@from_options(ReproduceRequest)
def reproduce(request: ReproduceRequest, prefect: Prefect = False, as_json: Json = False) -> None:
    """Run one of the paper's ablations, which vary one setting of CLIP-Adapter, or another study.

    Open-vocabulary trains methods on half of the classes and adds the others by name; selection measures
    what choosing settings on test images adds; rivals trains every method; published has the paper's
    figures beside ours; paper trains the methods that the paper compares. The dataset "all" stands for every
    known one whose images are present. The result of every variant is shown at the end; `clip-adapter report` draws the
    figures.
    """
    if request.dataset == ALL_DATASETS:
        _show_datasets(run("reproduce_paper", request, prefect=prefect), as_json=as_json)
        return
    done: Reproduction = run("reproduce_paper", request, prefect=prefect)
    shown = {OPEN_VOCABULARY: _open_vocabulary, "selection": _selection}
    tables, outcome = shown.get(done.study, _ablation)(request, done)
    summary = {
        **summaries.extraction_summary(done.encoded),
        "study": done.study,
        "runs_trained": done.n_trained,
        "runs_on_record": done.n_reused,
        "outcome": outcome,
    }
    if as_json:
        summaries.print_json(summary)
        return
    console = plain_console()
    trained, known = summary["runs_trained"], summary["runs_on_record"]
    console.print(f"[bold]{trained} runs trained[/bold], {known} recorded already", markup=True)
    for table in tables:
        console.print()
        console.print(table)
    if done.study not in shown:
        _say_how_to_draw(console, summary["dataset"], root=request.root)


def _show_datasets(done: "ReproducedDatasets", *, as_json: bool) -> None:
    """Show a study on several datasets: a table of datasets and variants.

    Raises:
        Exit: the study failed on some dataset; exit code 1.
    """
    tables = done.tables()
    if as_json:
        summaries.print_json(
            {
                "study": done.study,
                "runs_trained": done.n_trained,
                "runs_on_record": done.n_reused,
                "tables": [
                    {**asdict(table), "mean": table.mean, "datasets_of_mean": table.whole}
                    for table in tables
                ],
            }
        )
    else:
        console = plain_console()
        console.print(
            f"[bold]{done.n_trained} runs trained[/bold], {done.n_reused} recorded already",
            markup=True,
        )
        value = (
            "harmonic mean of base and new among all classes"
            if done.study == OPEN_VOCABULARY
            else "test accuracy"
        )
        show_tables(console, tables, what=f"{done.study}: {value}")
    n_asked = len(done.reproductions) + sum(not each.is_partial for each in done.failures)
    exit_if_some_failed(done.failures, of=n_asked)


def _show_one(
    flow: str,
    request: DatasetRequest,
    *,
    summarise: Callable[[Any], dict[str, Any]],
    show: Callable[[Console, Any, dict[str, Any]], None],
    prefect: bool,
    as_json: bool,
) -> None:
    """Run one request and show its summary."""
    summary = summarise(run(flow, request, prefect=prefect))
    if as_json:
        summaries.print_json(summary)
    else:
        show(plain_console(), request, summary)


def _exit_if_some_failed(outcomes: Sequence[tuple[Any, Any]]) -> None:
    from clip_adapter.pipeline.in_turn import Failure  # noqa: PLC0415  # computes

    failures = [outcome for _, outcome in outcomes if isinstance(outcome, Failure)]
    exit_if_some_failed(failures, of=len({id(request) for request, _ in outcomes}))


def _check_table_shots(
    asked: Sequence[int], requests: Sequence[TrainRequest], *, is_shown: bool
) -> None:
    """Refuse --table-shots where no table is shown, or none of these shots.

    Raises:
        BadParameter: what was asked for, and what is trained.
    """
    is_shown = is_shown and len({request.dataset for request in requests}) > 1
    trained = requests[0].shots
    if not is_shown or requests[0].budget:
        message = (
            "--table-shots is for the table of several datasets, which one dataset, --dry-run and --json do "
            "not show, and --budget shows without shots: leave it out"
        )
        raise typer.BadParameter(message)
    if lacking := [each for each in asked if each not in trained]:
        message = (
            f"--table-shots {', '.join(map(shots_to_text, lacking))} is not among the shots that are "
            f"trained: {', '.join(map(shots_to_text, trained))}"
        )
        raise typer.BadParameter(message)


def _show_extraction(console: Console, request: ExtractRequest, summary: dict[str, Any]) -> None:
    if request.dataset.startswith(IMPORTED):
        console.print(
            f"nothing to encode: all {summary['reused']:,} features of {request.dataset} were "
            f"imported, made by {escape_control_characters(summary['model'])}",
            soft_wrap=True,
        )
    else:
        summaries.show_extraction(console, summary)


def _training_summary(trained: "Training") -> dict[str, Any]:
    encoded = trained.encoded
    rows = summaries.leaderboard_rows(
        encoded.dataset.root, dataset=encoded.dataset.name, encoder=encoded.encoder
    )
    return {
        **summaries.training_summary(trained),
        "leaderboard": rows,
        **protocol_summary(trained),
    }


def _show_training(console: Console, _request: TrainRequest, summary: dict[str, Any]) -> None:
    summaries.show_extraction(console, summary)
    console.print(
        f"[bold]{summary['runs_trained']} runs trained[/bold] in {summary['seconds_train']:.1f} s, "
        f"{summary['runs_on_record']} recorded already",
        markup=True,
    )
    if "base_to_new" not in summary:
        summaries.show_leaderboard(console, summary["leaderboard"])
    show_protocols(console, summary)
    summaries.show_promotion(console, summary)


def _show_files_and_next_steps(console: Console, root: Path) -> None:
    lines = [f"\nFiles below {root}:"]
    for folder, files in groupby(summaries.stored_files(root), key=lambda file: file.parent):
        sizes = [file.stat().st_size for file in files]
        short = "/".join(part[:12] for part in folder.relative_to(root).parts)
        lines.append(f"  {short:<36} {len(sizes):>4} files {sum(sizes) / 1e6:8.2f} MB")
    lines += [
        "\nWhere to go next:",
        '  clip-adapter sql "SELECT model, method, shots, accuracy_mean FROM leaderboard"',
        "  clip-adapter train imagefolder:PATH    your own images, as class/picture.jpg",
        "  clip-adapter --help                    and README.md for nightly runs",
        "(clip-adapter lives in .venv/bin; `. .venv/bin/activate` puts it on the PATH.)",
    ]
    console.print("\n".join(lines), soft_wrap=True)


def _ablation(
    request: ReproduceRequest, done: "Reproduction"
) -> tuple[list[Group], list[dict[str, Any]]]:
    """The ablation with all its recorded runs, as the report has it: tables, and rows of JSON."""
    from clip_adapter.report import read_studies  # noqa: PLC0415  # draws, which takes a second

    encoded = done.encoded
    studies = [
        study
        for study in read_studies(
            request.location, dataset=encoded.dataset.name, encoder=encoded.encoder
        )
        if (study.name, study.recipe) == (done.study, request.recipe)
    ]
    tables = [
        _study_table(study, f"{encoded.dataset.name} with {encoded.model}") for study in studies
    ]
    return tables, [row for study in studies for row in _study_rows(study)]


def _open_vocabulary(
    request: ReproduceRequest, done: "Reproduction"
) -> tuple[list[Group], list[dict[str, Any]]]:
    """The methods with classes added by name, as the report has them: a table, and rows of JSON."""
    from clip_adapter.report import read_open_vocabulary  # noqa: PLC0415  # draws, as above

    dataset, encoder = done.encoded.dataset, done.encoded.encoder
    found = [
        each
        for each in read_open_vocabulary(request.location, dataset=dataset.name, encoder=encoder)
        if each.recipe in ("", request.recipe)
    ]
    who = f"{done.study} on {dataset.name} with {done.encoded.model}"
    shown = summaries.text_table(
        ("method", "shots", "base alone", "base", "change", "new", "harmonic"),
        [_open_vocabulary_cells(each) for each in found],
        title=f"{who}, {request.recipe} recipe: test accuracy, %",
        caption="trained on the first half of the classes, the others added by name; base alone: images "
        "of base classes, told apart from these alone; base: when the new names compete; change: in "
        "points; new: images of new classes, among all; harmonic mean of base and new; mean ± 95 % "
        "interval over seeds, of all recorded runs of this study"
        + (f"; {summaries.SAME}" if any(each.base.same_images for each in found) else ""),
    )
    return [shown], [_open_vocabulary_row(each) for each in found]


def _open_vocabulary_cells(found: "OpenVocabulary") -> list[str]:
    change = found.change
    before, after = (
        [summaries.percent(_score(mean)) for mean in means]
        for means in (
            (found.base, found.base_among_all),
            (found.new_among_all, found.harmonic_mean_among_all),
        )
    )
    moved = summaries.percent(_score(change), sign="+")
    name = with_words(found.method, found.images)
    return [name, shots_in_words(found.shots), *before, moved, *after]


def _score(mean: "Mean") -> summaries.Score:
    return summaries.Score(mean.value, mean.half_width, same_images=mean.same_images)


def _open_vocabulary_row(found: "OpenVocabulary") -> dict[str, Any]:
    means = {
        "base_accuracy": found.base,
        "base_accuracy_among_all": found.base_among_all,
        "base_accuracy_change": found.change,
        "new_accuracy_among_all": found.new_among_all,
        "harmonic_mean_among_all": found.harmonic_mean_among_all,
    }
    variant = with_words(found.method, found.images)
    row: dict[str, Any] = {"variant": variant, "shots": found.shots}
    for name, mean in means.items():
        row |= {f"{name}_mean": mean.value, f"{name}_ci95": mean.half_width}
    return row


def _selection(
    request: ReproduceRequest, done: "Reproduction"
) -> tuple[list[Group], list[dict[str, Any]]]:
    """What choosing on test images adds, as the report has it: a table, and rows of JSON."""
    from clip_adapter.report import selection_costs as costs  # noqa: PLC0415  # draws, as above

    dataset, encoder = done.encoded.dataset, done.encoded.encoder
    found = [
        each
        for each in costs.read_selection_costs(
            request.location, dataset=dataset.name, encoder=encoder
        )
        if each.recipe in ("", request.recipe)
    ]
    shown = summaries.text_table(
        ("method", "shots", "on test", "whole val", "few val", "held out", "defaults"),
        [
            [
                with_words(each.method, each.images),
                shots_in_words(each.shots),
                _accuracy(each.accuracy.get(costs.ORACLE)),
                *(_accuracy(each.added.get(choice), sign="+") for choice in costs.CHOICES),
            ]
            for each in found
        ],
        title=f"{done.study} on {dataset.name} with {done.encoded.model}, {request.recipe} recipe: test "
        "accuracy, %",
        caption="on test: settings chosen on the test images, an upper bound and no result; then what that "
        "adds, in points, to settings chosen on the whole validation split, on min(K, 4) of its images a "
        "class, on held-out shots, or by defaults; mean ± 95 % interval over seeds"
        + (f"; {summaries.SAME}" if any(_has_same_images(each) for each in found) else ""),
    )
    return [shown], [row for each in found for row in _selection_rows(each)]


def _has_same_images(found: "SelectionCosts") -> bool:
    return any(mean.same_images for mean in found.accuracy.values())


def _accuracy(mean: "Mean | None", *, sign: str = "") -> str:
    return "" if mean is None else summaries.percent(_score(mean), sign=sign)


def _selection_rows(found: "SelectionCosts") -> list[dict[str, Any]]:
    """One row for each choice; of the oracle without what it adds."""
    return [
        {
            "variant": with_words(found.method, found.images),
            "shots": found.shots,
            "chosen_on": choice,
            "accuracy_mean": mean.value,
            "accuracy_ci95": mean.half_width,
            "oracle_adds_mean": found.added[choice].value if choice in found.added else None,
            "oracle_adds_ci95": found.added[choice].half_width if choice in found.added else None,
        }
        for choice, mean in found.accuracy.items()
    ]


def _study_rows(study: "Study") -> list[dict[str, Any]]:
    """One row for each variant and number of shots, with the names of the leaderboard."""
    return [
        {
            "variant": variant.name,
            "shots": shots,
            "accuracy_mean": mean.value,
            "accuracy_ci95": mean.half_width,
        }
        for variant in study.variants
        for shots, mean in variant.means.items()
    ]


def _study_table(study: "Study", subject: str) -> Group:
    scores = {
        variant.name: {shots: _score(mean) for shots, mean in variant.means.items()}
        for variant in study.variants
    }
    on_images = f", {study.images}" if study.images else ""
    return summaries.accuracy_table(
        scores,
        heading=study.varied,
        title=f"{study.name} on {subject}, {study.recipe} recipe{on_images}: test accuracy, %",
        caption="mean ± 95 % interval over seeds, of all recorded runs of this study",
    )


def _say_how_to_draw(console: Console, dataset: str, *, root: Any) -> None:
    place = "" if root is None else f" --root {shlex.quote(str(root))}"
    command = f"clip-adapter report --dataset {dataset}{place} --to results.html"
    console.print()
    console.print(f"To draw the figure: {escape_control_characters(command)}", soft_wrap=True)
