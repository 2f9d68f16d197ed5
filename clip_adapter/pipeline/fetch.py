"""Fetches a published dataset into the folder of datasets, or says what to do by hand."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clip_adapter.datasets import (
    GENERATED,
    DatasetDescription,
    DatasetError,
    Download,
    FoundDataset,
    canonical_name,
    check_no_folder,
    describe,
    find_described,
    known_names,
    split_file_from,
)
from clip_adapter.errors import DataError, ParameterError, UnavailableError, UnknownNameError
from clip_adapter.file_lock import FileLock
from clip_adapter.pipeline.download import download
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.unpack import ARCHIVE_SUFFIXES, unpack

_COMPLETE: Final = "complete"  # what was downloaded and unpacked, and has to be moved into place


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The result of fetching a dataset.

    Attributes:
        name: name of the dataset.
        folder: folder that holds it, or is to hold it.
        is_present: whether its images are there now, with what labels them.
        n_downloaded: number of files that were downloaded now.
        steps: what is left to do by hand, in order; empty if nothing is.
    """

    name: str
    folder: Path
    is_present: bool
    n_downloaded: int
    steps: tuple[str, ...]


def fetch(dataset: str, *, data: Path, accept_licence: bool = False, reporter: Reporter) -> Fetched:
    """Download what a published dataset lacks on this machine, unpack it, and put it in place.

    Where the images have to be got by hand, the split file is downloaded.

    Everything is downloaded and unpacked beside the folder of the dataset. When it is complete it becomes
    that folder in one step; if the folder is there already, its files and folders are moved into it one by
    one, none in place of another. After a failure the same call goes on from there.

    Args:
        dataset: name of a described dataset, in any of its spellings.
        data: folder of datasets.
        accept_licence: whether the user accepts the licence, where that is asked for.
        reporter: where to report progress.

    Raises:
        UnknownNameError: there is no dataset of that name.
        ParameterError: the licence has to be accepted first.
        UnavailableError: a server cannot be reached or has another file, the disk has too little room,
            or another process fetches the dataset. The message ends with the steps to do by hand.
        DatasetError: an archive cannot be unpacked or holds something else, or something is in its place.
    """
    described = _described(dataset)
    folder = described.folder_in(data)
    if (_work_folder(described, data) / _COMPLETE).exists():
        with _workplace(described, data) as work:
            _move_into(folder, work)
    found = find_described(described, folder)
    wanted = _wanted(found, folder)
    if not wanted:
        return _result(found, folder, n_downloaded=0)
    has_images = any(_is_archive(each) for each in wanted)
    if has_images and described.accept_licence and not accept_licence:
        raise ParameterError(
            f"{described.title} is licensed so: {described.licence} ({described.homepage}). Add "
            "--accept-licence if you accept that"
        )
    with _workplace(described, data) as work:
        try:
            _check_room(wanted, work)
            for each in wanted:
                download(
                    each.url,
                    work / each.file_name,
                    limit_bytes=each.max_mb * 10**6,
                    algorithm=each.algorithm,
                    digest=each.digest,
                    reporter=reporter,
                )
        except UnavailableError as error:
            steps = "\n  ".join(steps_by_hand(found, folder))
            raise UnavailableError(f"{error}\nBy hand:\n  {steps}") from error
        staged = _unpack_all(wanted, work, reporter=reporter)
        if has_images:
            _check_content(found, staged, wanted, work)
        staged.rename(work / _COMPLETE)
        _move_into(folder, work)
    return _result(find_described(described, folder), folder, n_downloaded=len(wanted))


def steps_by_hand(found: FoundDataset, folder: Path) -> tuple[str, ...]:
    """What to do to have a dataset in its folder, in order; the last step is to train on it."""
    described = found.described
    steps = []
    if found.images is None:
        steps += [each.replace("{folder}", str(folder)) for each in described.steps]
        steps += [
            f"Download {each.url} and unpack it in {folder}"
            + (f", then {each.inner} where it lies" if each.inner else "")
            for each in described.downloads
            if _is_archive(each)
        ]
    if described.split_file and not found.has_split_file:
        steps.append(f"Put {split_file_from(described)} into {folder}")
    command = "extract" if described.test_only else "train"
    return (*steps, f"clip-adapter {command} {described.name}") if steps else ()


def _described(dataset: str) -> DatasetDescription:
    name = canonical_name(dataset)
    if name in GENERATED:
        raise DatasetError(f"{name!r} is generated and has nothing to fetch: train on it")
    if name not in known_names():
        check_no_folder(dataset)
        raise UnknownNameError("dataset", dataset, known_names())
    return describe(name)


def _wanted(found: FoundDataset, folder: Path) -> list[Download]:
    """The downloads that are lacking; those of images only if none has to be got by hand."""
    lists = {each.name for each in found.lists}
    lacks_images = found.images is None and not found.described.steps

    def is_lacking(each: Download) -> bool:
        if _is_archive(each):
            return lacks_images
        return each.file_name not in lists and not (folder / each.file_name).exists()

    return [each for each in found.described.downloads if is_lacking(each)]


def _is_archive(each: Download) -> bool:
    return each.file_name.lower().endswith(ARCHIVE_SUFFIXES)


def _result(found: FoundDataset, folder: Path, *, n_downloaded: int) -> Fetched:
    return Fetched(
        name=found.described.name,
        folder=folder,
        is_present=found.is_present,
        n_downloaded=n_downloaded,
        steps=steps_by_hand(found, folder),
    )


def _work_folder(described: DatasetDescription, data: Path) -> Path:
    return data / f".fetch-{described.name}"


@contextmanager
def _workplace(described: DatasetDescription, data: Path) -> Iterator[Path]:
    """The folder to download and unpack in, on the disk of the dataset; one process has it at a time."""
    work = _work_folder(described, data)
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock.acquire(work.with_name(f"{work.name}.lock"))
    if lock is None:
        raise UnavailableError(f"another process fetches {described.name} now: wait until it ends")
    try:
        work.mkdir(exist_ok=True)  # a process that just ended removed it
        yield work
    finally:
        lock.release()


def _check_room(wanted: list[Download], work: Path) -> None:
    """Raise if the disk has less room than archives and their content may take."""
    there = sum(file.stat().st_size for file in work.iterdir() if file.is_file())
    needed = sum(each.max_mb * (2 if _is_archive(each) else 1) for each in wanted) * 10**6
    free = shutil.disk_usage(work).free
    if free + there < needed:
        raise UnavailableError(
            f"{work.parent} has {free / 1e9:,.1f} GB left, and up to {needed / 1e9:,.1f} GB are needed: "
            "make room, or name another folder with --data or CLIP_ADAPTER_DATA"
        )


def _unpack_all(wanted: list[Download], work: Path, *, reporter: Reporter) -> Path:
    """The folder with the content of all that was downloaded; nothing stays of it after an error."""
    staged = work / "unpacked"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        for each in wanted:
            if _is_archive(each):
                _unpack_one(each, work / each.file_name, staged, reporter=reporter)
            else:
                shutil.copyfile(work / each.file_name, staged / each.file_name)
    except (DatasetError, OSError):
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return staged


def _unpack_one(each: Download, file: Path, staged: Path, *, reporter: Reporter) -> None:
    """Unpack a downloaded archive; without a digest, one that is damaged is downloaded anew next time."""
    try:
        _unpack(file, staged, reporter=reporter)
        for inner in sorted(staged.rglob(each.inner)) if each.inner else ():
            _unpack(inner, inner.parent, reporter=reporter)
            inner.unlink()
    except DataError as error:
        advice = ""
        if each.algorithm is None:
            file.unlink()
            advice = "; it was removed, and the same command downloads it anew"
        raise DatasetError(f"{error}{advice}") from error


def _check_content(found: FoundDataset, staged: Path, wanted: list[Download], work: Path) -> None:
    """Raise unless the unpacked folder has the images; an archive without a digest may be another one.

    Such archives are removed, so that they are downloaded anew. Of published archives the content is kept.
    """
    described, error = found.described, None
    if (
        found.has_split_file
    ):  # which says what images there are, and is looked for above the folder, too
        shutil.copyfile(found.lists[0], work / found.lists[0].name)
    try:
        if find_described(described, staged).images is not None:
            return
    except DatasetError as raised:
        error = raised
    why = f"what was downloaded for {described.title} does not hold its images where they were expected"
    why += f": {error}" if error else ""
    unknown = [each.file_name for each in wanted if _is_archive(each) and each.algorithm is None]
    if not unknown:
        raise DatasetError(
            f"{why}. The archives are those that were published, so that the description of the dataset "
            f"is wrong: their content is kept in {staged}, from where it can be moved by hand"
        ) from error
    for name in unknown:
        (work / name).unlink()
    shutil.rmtree(staged)
    raise DatasetError(
        f"{why}; {', '.join(unknown)} was removed, and the same command downloads it anew"
    ) from error


def _unpack(archive: Path, folder: Path, *, reporter: Reporter) -> None:
    # Photos hardly become smaller in an archive, so that its size is about that of its content.
    left = size = archive.stat().st_size / 1e6
    with reporter.progress(f"unpacking {archive.name}", total=size, unit="MB") as advance:

        def show(n_mb: float) -> None:
            nonlocal left
            advance(min(n_mb, left))
            left -= min(n_mb, left)

        unpack(archive, folder, advance=show)


def _move_into(folder: Path, work: Path) -> None:
    """Move what is complete to its place, then remove the work folder; an interrupted move is finished."""
    for each in work.iterdir():  # archives that were unpacked, of many gigabytes perhaps
        if each.is_file():
            each.unlink()
    complete = work / _COMPLETE
    if complete.exists() and not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        complete.rename(folder)
    names = sorted(each.name for each in complete.iterdir()) if complete.exists() else []
    in_the_way = [name for name in names if os.path.lexists(folder / name)]
    if in_the_way:
        raise DatasetError(
            f"{folder / in_the_way[0]} is in the way of what was downloaded: move it elsewhere, or remove "
            f"it if it is what an interrupted unpacking left, and run the same again; or keep it and remove "
            f"{complete}"
        )
    for name in names:
        (complete / name).rename(folder / name)
    shutil.rmtree(work)
