"""The commands `datasets` and `methods`: what can be trained on, what is wrong with it, and what trains."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.cache.indexed import existing_root
from clip_adapter.cli.changed_rows import change_rows, show_changes
from clip_adapter.cli.options import Data, Json, Root, parse_columns
from clip_adapter.cli.summaries import print_json
from clip_adapter.datasets import DATASETS, SPLITS, FolderOptions, is_own_data
from clip_adapter.errors import ClipAdapterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import MAX_PIXELS, ReadOptions
from clip_adapter.pipeline.dataset_check import Finding, check_dataset, index_folder
from clip_adapter.pipeline.dataset_rewrite import forget_dataset, rename_dataset
from clip_adapter.pipeline.datasets import (
    KnownDataset,
    StoredDataset,
    contact_sheet,
    known_datasets,
    read_dataset,
    stored_datasets,
)
from clip_adapter.pipeline.fetch import Fetched
from clip_adapter.pipeline.fetch import fetch as fetch_dataset
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name as `datasets` lists it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be written anew.")]
FollowLinks = Annotated[
    Path | None,
    typer.Option(
        "--follow-links", help="Folder below which links may lead out of the folder of the images."
    ),
]
STYLES = {"problem": "red", "warning": "yellow", "note": ""}


def methods(as_json: Json = False) -> None:
    """List the few-shot methods, and what can be set of each."""
    from clip_adapter.methods import METHODS  # noqa: PLC0415  # takes time

    listed = {name: _about_method(name) for name in METHODS}
    if as_json:
        print_json(listed)
        return
    table = Table(title="methods", title_justify="left")
    for heading in ("name", "what it is", "settings"):
        table.add_column(heading, overflow="fold")
    for name, about in listed.items():
        cells = (name, str(about["what_it_is"]), ", ".join(about["settings"]))
        table.add_row(*(Text(escape_control_characters(cell)) for cell in cells))
    plain_console().print(table)


def _about_method(name: str) -> dict[str, Any]:
    """Description and settings of a method, or why the package that has it cannot be used."""
    from clip_adapter.methods import METHODS, setting_names  # noqa: PLC0415  # takes time

    try:
        method = METHODS[name]
    except ClipAdapterError as error:
        return {"what_it_is": f"cannot be used: {error}", "settings": []}
    first_line = (method.__doc__ or "").strip().partition("\n")[0]
    return {"what_it_is": first_line, "settings": setting_names(method)}


def list_(root: Root = None, data: Data = None, as_json: Json = False) -> None:
    """List the datasets that are known, and those that are indexed, as they were indexed last.

    Of each it says where its images are, and what to do if they are not there.
    """
    settings = Settings.of(root=root, data=data)
    known = known_datasets(settings.data_folder)
    stored = stored_datasets(settings.location, data=settings.data_folder)
    if as_json:
        steps = {
            each.name: {
                "present": each.is_present,
                "state": each.state,
                "next_step": each.next_step,
            }
            for each in known
        }
        indexed = [_as_json(each) for each in stored]
        print_json({"known": dict(DATASETS), "next_steps": steps, "indexed": indexed})
        return
    console = plain_console()
    _show_known(console, known)
    if stored:
        _show_stored(console, stored)


def _show_known(console: Console, known: list[KnownDataset]) -> None:
    table = _table("known datasets", "name", "what it is", "here", "next: clip-adapter ...")
    for each in known:
        _add(table, each.name, each.what, each.state, each.next_step.removeprefix("clip-adapter "))
    console.print(table)


def _show_stored(console: Console, stored: list[StoredDataset]) -> None:
    table = _table("indexed in this store", "name", "what it is", "images are in")
    for heading in ("images", "classes", "not used"):
        table.add_column(heading, justify="right")
    for each in stored:
        n_unused = len(each.index.quarantined) + len(each.index.excluded)
        counts = (f"{count:,}" for count in (len(each.index), each.n_classes, n_unused))
        _add(table, each.name, each.what, _place(each), *counts)
    console.print(table)
    for each in stored:
        if each.next_step:
            _say(console, f"{each.name}: {each.next_step}")


def _place(dataset: StoredDataset) -> str:
    """Folder of the images, and whether it is there."""
    if dataset.state in {"imported", "unknown"}:
        return "no folder" if dataset.state == "imported" else "unknown"
    missing = "missing: " if dataset.state == "missing" else ""
    return f"{missing}{dataset.source or 'never recorded'}"


def show(
    dataset: Name,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Also write a contact sheet, as an .html or a .png file."),
    ] = None,
    per_class: Annotated[
        int, typer.Option("--per-class", min=1, max=50, help="Images of each class on it.")
    ] = 6,
    follow_links: FollowLinks = None,
    root: Root = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show how many images each class and split of a dataset has, and what was left out and why.

    With --to, also a few images of every class, which are read from the folder of the dataset.
    """
    page = None if to is None else to.expanduser().resolve()
    if page is not None:
        from clip_adapter.report.contact_sheet import check_page  # noqa: PLC0415  # takes a second

        check_page(page)
    place, data_folder = existing_root(root), Settings.of(root=root, data=data).data_folder
    found = read_dataset(place, dataset, data=data_folder)
    sheet = None if page is None else _write_sheet(found, page, per_class, follow_links)
    if as_json:
        print_json(_as_json(found) | {"splits": found.counts(), "contact_sheet": sheet})
        return
    console = plain_console()
    _show_counts(console, found)
    if sheet is not None:
        _say(console, f"{sheet['caption']}, in {sheet['page']}")


def _write_sheet(
    dataset: StoredDataset, page: Path, per_class: int, follow_links: Path | None
) -> dict[str, Any]:
    from clip_adapter.report.contact_sheet import write_contact_sheet  # noqa: PLC0415  # as above

    read = ReadOptions(follow_links=Settings.folder(follow_links))
    sheet = contact_sheet(dataset, per_class=per_class, read=read)
    write_contact_sheet(sheet, page)
    return {
        "page": page,
        "caption": sheet.caption,
        "images": sheet.n_shown,
        "gaps": sheet.n_gaps,
        "classes_not_shown": sheet.n_more_classes,
    }


def _show_counts(console: Console, dataset: StoredDataset) -> None:
    table = _table(dataset.name, "class")
    for heading in (*SPLITS, "all"):
        table.add_column(heading, justify="right")
    counts = dataset.counts()
    for name, row in counts.items():
        _add(table, name, *_with_sum([row[split] for split in SPLITS]))
    totals = [sum(row[split] for row in counts.values()) for split in SPLITS]
    table.add_section()
    _add(table, "all classes", *_with_sum(totals))
    console.print(table)
    for reason, count in _quarantined(dataset).items():
        _say(console, f"{count:,} quarantined: {reason}")
    for reason, count in dataset.excluded.items():
        _say(console, f"{count:,} not used: {reason}")
    where = {
        "present": "images in",
        "remote": "images in",
        "missing": "its images are no longer in",
    }
    if dataset.source and dataset.state in where:
        _say(console, f"{where[dataset.state]} {dataset.source}")
    if dataset.next_step:
        _say(console, f"{dataset.state}: {dataset.next_step}")


def _quarantined(dataset: StoredDataset) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for file in dataset.index.quarantined:
        reasons[file.reason] = reasons.get(file.reason, 0) + 1
    return reasons


def _with_sum(counts: list[int]) -> list[str]:
    return [f"{count:,}" for count in (*counts, sum(counts))]


def check(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="NAME as `datasets` lists it, or imagefolder:PATH, csv:PATH and the other forms.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of your own dataset, in place of that of its path."),
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option("--class-names", help="Names of the classes of your own images.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="OURS=THEIRS",
            help="Columns of other names, as path=file,label=species.",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the images of a table.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="GLOB", help="Paths to leave out; repeatable."),
    ] = None,
    follow_links: FollowLinks = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            "--max-pixels", min=1, help="Pixels above which an image is not decoded whole."
        ),
    ] = MAX_PIXELS,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 for warnings, too.")] = False,
    root: Root = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check a dataset, each finding with what to do; own images are read and nothing is stored.

    Unreadable files, copies within and across splits, pictures with two labels, classes too small
    for 1, 4 or 16 shots, class names that make poor prompts, and files that are left out.

    Exit codes: 0 no problem; 1 a problem, or with --strict a warning; 2 wrong usage.
    """
    read = ReadOptions(follow_links=Settings.folder(follow_links), max_pixels=max_pixels)
    options = FolderOptions(
        name=name,
        class_names=Settings.folder(class_names),
        ignore=tuple(ignore or ()),
        columns=tuple(sorted((parse_columns(columns) or {}).items())),
        read=read,
    )
    if is_own_data(dataset):
        place = Settings.folder(images)
        index = index_folder(dataset, images=place, options=options, reporter=Reporter())
    else:
        if options != FolderOptions() or images is not None:
            message = (
                "--name, --class-names, --columns, --images, --ignore, --follow-links and --max-pixels go "
                "with imagefolder:PATH and the other forms of own images"
            )
            raise typer.BadParameter(message)
        data_folder = Settings.of(root=root, data=data).data_folder
        index = read_dataset(existing_root(root), dataset, data=data_folder).index
    findings = check_dataset(index)
    if as_json:
        print_json(
            {
                "dataset": index.source.name,
                "images": len(index),
                "findings": [*map(asdict, findings)],
            }
        )
    else:
        _show_findings(plain_console(), findings, n_images=len(index))
    serious = {"problem", "warning"} if strict else {"problem"}
    if any(each.severity in serious for each in findings):
        raise typer.Exit(1)


def _show_findings(console: Console, findings: list[Finding], *, n_images: int) -> None:
    for each in findings:
        _say(console, f"{each.severity}: {each.message}", style=STYLES[each.severity])
        for example in each.examples:
            _say(console, f"    {example}")
        _say(console, f"  do: {each.fix}")
    counts = [
        f"{n} {severity}{'s' if n != 1 else ''}"
        for severity in STYLES
        if (n := sum(each.severity == severity for each in findings))
    ]
    _say(console, f"{n_images:,} images: {', '.join(counts) or 'nothing to say'}")


def fetch(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Name as `datasets` lists it.")],
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="Accept the licence of the images, where it has to be accepted.",
        ),
    ] = False,
    root: Root = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Download a dataset into the data folder, or print the steps to get it by hand.

    Files are compared with their published digests and unpacked beside the folder, which is put in place
    when it is complete. After an interruption the same command goes on from there.

    Exit codes: 0 the images are there; 1 something is left to do by hand, or an error; 2 wrong usage.
    """
    data_folder = Settings.of(root=root, data=data).data_folder
    done = fetch_dataset(
        dataset, data=data_folder, accept_licence=accept_licence, reporter=Reporter()
    )
    if as_json:
        print_json(asdict(done))
    else:
        _show_fetched(plain_console(), done)
    if not done.is_present:
        raise typer.Exit(1)


def _show_fetched(console: Console, done: Fetched) -> None:
    if done.is_present:
        how = (
            f"{done.n_downloaded} files downloaded" if done.n_downloaded else "nothing to download"
        )
        _say(console, f"{done.name} is in {done.folder}: {how}")
        if done.steps:
            _say(console, "for the published splits:")
    else:
        if done.n_downloaded:
            _say(console, f"{done.n_downloaded} files downloaded into {done.folder}")
        _say(console, f"{done.name} cannot be downloaded by this command alone. By hand:")
    for number, step in enumerate(done.steps, start=1):
        _say(console, f"  {number}. {step}")


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Name as `datasets` lists it.")],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Another name: a-z, 0-9 and single dashes.")
    ],
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Give a dataset another name; its runs and champion go with it, and nothing is trained again.

    A rename that was interrupted is finished by running it again.
    """
    changed = rename_dataset(existing_root(root), old, new, dry_run=dry_run)
    if as_json:
        print_json({"from": old, "to": new, "dry_run": dry_run, "changed": change_rows(changed)})
        return
    console = plain_console()
    show_changes(console, changed, title="to write anew" if dry_run else "written anew")
    if dry_run:
        _say(console, "nothing was changed: leave out --dry-run to rename it")
    else:
        _say(console, f"{old} is called {new} now, with its runs and its champion")


def forget(
    dataset: Name,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without this it is only shown.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show what would be removed of a dataset, and remove it with --yes; no image is touched.

    Features that other datasets share stay, and what a champion rests on: its decisions, the runs
    that they cite, the features of their images, and the files of the classifiers.
    """
    done = forget_dataset(existing_root(root), dataset, dry_run=not yes)
    if as_json:
        counts = {name: value for name, value in vars(done).items() if name.startswith("n_")}
        removed = change_rows(done.removed)
        print_json({"dataset": done.name, "dry_run": not yes, "removed": removed, **counts})
        return
    console = plain_console()
    show_changes(console, done.removed, title="removed" if yes else "to remove")
    if done.n_decisions_kept:
        _say(
            console,
            f"kept for its champion: {done.n_decisions_kept:,} decisions, {done.n_runs_kept:,} runs "
            f"that they cite, the features of {done.n_images_kept:,} images, and the classifiers",
        )
    if not yes:
        _say(console, "nothing was removed: add --yes to remove it")


def _as_json(dataset: StoredDataset) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "images": len(dataset.index),
        "classes": dataset.n_classes,
        "quarantined": len(dataset.index.quarantined),
        "excluded": dataset.excluded,
        "source": dataset.source,
        "state": dataset.state,
        "next_step": dataset.next_step,
        "index_fingerprint": dataset.index_fingerprint,
    }


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(escape_control_characters(cell)) for cell in cells))


def _say(console: Console, line: str, *, style: str = "") -> None:
    console.print(escape_control_characters(line), markup=False, soft_wrap=True, style=style)
