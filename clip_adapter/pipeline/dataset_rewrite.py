"""Renames or forgets a stored dataset, by writing files anew without changing one.

The files that hold the rows as they will be are written before the files that held them are removed,
and the images of the dataset's indexes, by which its name is found, are removed last. So a command
that was killed is finished by running it again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.datasets import DATASETS, FolderOptions, check_free_name, describe, known_names
from clip_adapter.errors import DatasetError
from clip_adapter.pipeline.datasets import read_dataset, stored_name
from clip_adapter.pipeline.evidence import Evidence, evidence_images, evidence_on
from clip_adapter.pipeline.stored_rows import (
    ChangedRows,
    counted,
    drop_rows,
    is_in,
    n_true,
    open_all,
    read_rows,
    remove_file,
    summed,
)
from clip_adapter.runs import RUN_TABLES
from clip_adapter.runs.schemas import RUNS
from feature_cache import (
    IndexStore,
    Location,
    StoredFolder,
    classifier_folder,
    drop_unreferenced,
    is_content,
    read_content,
    storage,
    stored_folders,
    write_content,
    write_table,
)

INDEX = "dataset-index"
_NAMED_TABLES = ("splits", "runs", "extractions", "promotions", "requests")
"""Tables of runs with a column `dataset`, a table before those that refer to it."""
_CLASSIFIERS = "classifiers"
_MANY = 99  # more than a folder is ever read again in a row


@dataclass(frozen=True, kw_only=True)
class ForgottenDataset:
    """The result of forgetting a dataset.

    Attributes:
        name: name of the dataset in the store.
        removed: rows that were removed, or would be.
        n_decisions_kept: number of decisions on its champion that stay; 0 where it has none.
        n_runs_kept: number of runs that these decisions cite, which stay with all their rows.
        n_images_kept: number of images that these runs name, whose features stay.
    """

    name: str
    removed: tuple[ChangedRows, ...]
    n_decisions_kept: int
    n_runs_kept: int
    n_images_kept: int


def rename_dataset(
    root: Location, old: str, new: str, *, dry_run: bool = False
) -> tuple[ChangedRows, ...]:
    """Give a stored dataset another name; its fingerprints stay, so that nothing is trained again.

    Files that hold rows of other datasets as well are written anew with these as they are.

    Args:
        root: folder or URL of the store.
        old: name of the dataset, as `stored_name` takes it.
        new: name that no dataset of the store has: a-z, 0-9 and single dashes.
        dry_run: only report what would be written anew.

    Raises:
        DatasetError: the new name is no slug, reserved or taken, or the dataset is one of
            `DATASETS`, which has a fixed name.
        NotStoredError: there is no dataset of the old name.
        CorruptFileError, NewerFormatError, MisplacedFileError: a file of the dataset is damaged;
            nothing is removed.
        OSError: the disk or the object store failed; running it again goes on from there.
    """
    old = stored_name(root, old)
    _check_names(root, old, new)
    changed: list[ChangedRows] = []
    for _ in range(_MANY):  # again if another process has merged files meanwhile
        replaced = list(_write_renamed(root, old, new, dry_run=dry_run))
        changed += [rows for _, rows in replaced]
        if dry_run or not replaced:
            break
        for path, _ in _images_last(reversed(replaced)):
            remove_file(path)
    if not dry_run:
        _remove_empty_folders(root, old)
    return summed(changed)


def forget_dataset(root: Location, name: str, *, dry_run: bool) -> ForgottenDataset:
    """Remove what is stored of a dataset, but not what others share or its champion rests on.

    Its requests, extractions, runs with all their rows (tests of other datasets' classifiers on it
    included), indexes, and the features of images that no other dataset's index names are removed. If the dataset has a champion, every decision on it
    stays, with the runs that they cite, their rows, the features of their images, and the files
    of the classifiers. Prompts stay.

    Args:
        root: folder or URL of the store.
        name: name of the dataset, as `stored_name` takes it.
        dry_run: only report what would be removed.

    Raises:
        NotStoredError: there is no dataset of this name.
        CorruptFileError, NewerFormatError, MisplacedFileError: a file that may hold rows of the
            dataset is damaged; its rows and those of later steps are not removed.
        OSError: the disk or the object store failed; running it again goes on from there.
    """
    name = stored_name(root, name)
    evidence = evidence_on(root, name)
    removed = [
        *_forget_runs(root, name, evidence, dry_run=dry_run),
        *_forget_classifiers(root, name, evidence, dry_run=dry_run),
        *_forget_features(root, name, evidence, dry_run=dry_run),
        *_forget_indexes(root, name, dry_run=dry_run),
    ]
    if not dry_run:
        _remove_empty_folders(root, name)
    return ForgottenDataset(
        name=name,
        removed=summed(removed),
        n_decisions_kept=evidence.n_decisions,
        n_runs_kept=len(evidence.run_ids),
        n_images_kept=len(evidence.images),
    )


# Renaming


def _check_names(root: Location, old: str, new: str) -> None:
    if old in DATASETS and not _is_own_folder(root, old):
        raise DatasetError(
            f"{old!r} is the name of a dataset that is known without a store, and stays: give a "
            f"copy of its folder another name, `clip-adapter train imagefolder:PATH --name {new}`"
        )
    check_free_name(new)
    FolderOptions(name=new)  # raises if the name is no slug
    if old == new:
        raise DatasetError(f"the dataset is called {old!r} already: give another name")
    before, after = _identifiers(root, old), _identifiers(root, new)
    states, taken_by = before.pop("states"), after.pop("states")
    began = all(after[name] <= ids or ids <= after[name] for name, ids in before.items())
    if not (taken_by <= states and began):
        raise DatasetError(
            f"the name {new!r} is taken: this store has an index, runs or decisions of another "
            f"dataset of that name. Choose another, or `clip-adapter datasets forget {new}` first"
        )


def _is_own_folder(root: Location, name: str) -> bool:
    """Whether a stored dataset is a folder of one's own that was called like a known one is now."""
    if name not in known_names():
        return False
    described, stored = describe(name), read_dataset(root, name, data=Path())
    if described.classes:
        return not set(stored.index.source.class_names) <= set(described.class_names)
    return stored.n_classes != described.n_classes


def _identifiers(root: Location, name: str) -> dict[str, set[str]]:
    """The states of a dataset, and what identifies each row of its tables.

    A rename that was interrupted leaves states of the old name alone, and of each table the rows
    of one name among those of the other.
    """
    found = {"states": _fingerprints(root, name)}
    for table in ("runs", "extractions", "promotions", "requests"):
        key = RUN_TABLES[table].names[0]
        rows = read_rows(root, table, key, "dataset", "index_fingerprint")
        rows = rows.filter(pc.field("dataset") == name)
        found[table] = set(rows.column(key).to_pylist())
        found["states"] |= set(rows.column("index_fingerprint").drop_null().to_pylist())
    return found


def _write_renamed(
    root: Location, old: str, new: str, *, dry_run: bool
) -> Iterator[tuple[Location, ChangedRows]]:
    """Write every file that names the dataset with the new name; yield those they replace."""
    for path, size_bytes in _classifiers(root, old):
        if not dry_run:
            write_content(classifier_folder(root, new), read_content(path))
        yield path, ChangedRows(kind=_CLASSIFIERS, n_files=1, n_rows=1, size_bytes=size_bytes)
    for folder in _folders_to_rename(root, old):
        is_own = folder.owner == old and folder.kind.startswith("dataset-")
        target = folder.path
        if is_own:
            target = root / "datasets" / new / folder.path.name
        for file in open_all(folder):
            table, n_rows = _renamed(file.read(), old, new)
            if not n_rows:
                continue
            if not dry_run:
                owner = new if is_own else folder.owner
                write_table(target, table, kind=folder.kind, owner=owner)
            yield file.path, counted(folder.kind, file, n_rows, table.num_rows)


def _folders_to_rename(root: Location, name: str) -> Iterator[StoredFolder]:
    """Folders with rows that name the dataset, those of its index before those that refer to it."""
    folders = list(stored_folders(root))
    own = {each.kind: each for each in folders if each.path.parent == root / "datasets" / name}
    yield from (own[kind] for kind in ("dataset-quarantine", "dataset-excluded", INDEX))
    yield from (each for each in folders if each.kind == "encoder")
    yield from (StoredFolder(root / "runs" / table, table) for table in _NAMED_TABLES)


def _renamed(table: pa.Table, old: str, new: str) -> tuple[pa.Table, int]:
    """A table with the new name in each row that has the old one, and the number of such rows."""
    if "field" in table.column_names:  # of an encoder; imports record their dataset there
        named = pc.and_(_equal(table["field"], "dataset"), _equal(table["value"], old))
        return _put(table, "value", named, new), n_true(named)
    named = _equal(table["dataset"], old)
    if "row" in table.column_names:  # of an index, which keeps its first name
        table = _with_first_name(table, named, old)
    table = _put(table, "dataset", named, new)
    if "tested_on" in table.column_names:
        tested = _equal(pc.struct_field(table["tested_on"], "dataset"), old)
        table = _put_struct(table, "tested_on", "dataset", tested, new)
        named = pc.or_(named, tested)
    return table, n_true(named)


def _with_first_name(table: pa.Table, named: pa.Array, name: str) -> pa.Table:
    if "name" not in table.column_names:
        table = table.append_column("name", pa.nulls(table.num_rows, pa.string()))
    return _put(table, "name", pc.and_(named, pc.is_null(table["name"])), name)


def _put_struct(
    table: pa.Table, column: str, inner: str, mask: pa.ChunkedArray, value: str
) -> pa.Table:
    """Replace one field of a column of structs in the rows of a mask."""
    whole = table[column].combine_chunks()
    fields = [pc.struct_field(whole, field.name) for field in whole.type]
    place = whole.type.get_field_index(inner)
    fields[place] = pc.if_else(mask.combine_chunks(), value, fields[place])
    made = pa.StructArray.from_arrays(fields, fields=list(whole.type), mask=whole.is_null())
    position = table.column_names.index(column)
    return table.set_column(position, table.schema.field(column), made)


def _put(table: pa.Table, column: str, mask: pa.ChunkedArray, value: str) -> pa.Table:
    position = table.column_names.index(column)
    return table.set_column(
        position, table.schema.field(column), pc.if_else(mask, value, table[column])
    )


def _equal(column: pa.ChunkedArray, value: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(column, value), fill_value=False)


def _images_last(
    replaced: Iterator[tuple[Location, ChangedRows]],
) -> list[tuple[Location, ChangedRows]]:
    return sorted(replaced, key=lambda each: each[1].kind == INDEX)


# Forgetting


def _forget_runs(
    root: Location, name: str, evidence: Evidence, *, dry_run: bool
) -> Iterator[ChangedRows]:
    """Remove the rows of all tables of runs, the row of a run itself after its other rows."""
    runs = read_rows(root, "runs", "run_id", "dataset", "tested_on", schema=RUNS)
    tested = pc.field("tested_on", "dataset") == name
    own = set(runs.filter((pc.field("dataset") == name) | tested)["run_id"].to_pylist())
    gone = frozenset(own - evidence.run_ids)

    def of_dataset(table: pa.Table) -> pa.ChunkedArray:
        return _equal(table["dataset"], name)

    def of_run(table: pa.Table) -> pa.ChunkedArray:
        return is_in(table["run_id"], gone)

    def of_split(table: pa.Table) -> pa.ChunkedArray:
        kept = is_in(table["split_fingerprint"], evidence.splits)
        return pc.and_(of_dataset(table), pc.invert(kept))

    selections: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
        "requests": of_dataset,
        "extractions": of_dataset,
        "promotions": of_dataset,
        "metrics": of_run,
        "curves": of_run,
        "predictions": of_run,
        "splits": of_split,
        "runs": of_run,
    }
    if evidence.n_decisions:
        del selections["promotions"]
    for table, selects in selections.items():
        folder = StoredFolder(root / "runs" / table, table)
        yield from drop_rows(folder, selects, dry_run=dry_run)


def _forget_classifiers(
    root: Location, name: str, evidence: Evidence, *, dry_run: bool
) -> Iterator[ChangedRows]:
    for path, size_bytes in () if evidence.n_decisions else _classifiers(root, name):
        if not dry_run:
            remove_file(path)
        yield ChangedRows(kind=_CLASSIFIERS, n_files=1, n_rows=1, size_bytes=size_bytes)


def _forget_features(
    root: Location, name: str, evidence: Evidence, *, dry_run: bool
) -> Iterator[ChangedRows]:
    own = IndexStore(root, name).sizes().column("image_sha256").combine_chunks().unique()
    # Also what the champions of datasets that were forgotten before rest on.
    keep = pa.concat_arrays([evidence.images, evidence_images(root)]).unique()
    for rows in drop_unreferenced(root, dry_run=dry_run, only=own, keep=keep, without=name):
        total = rows.n_rows + rows.n_kept
        yield ChangedRows(
            kind="image-features",
            n_files=1,
            n_rows=rows.n_rows,
            size_bytes=rows.size_bytes * rows.n_rows // total,
        )


def _forget_indexes(root: Location, name: str, *, dry_run: bool) -> Iterator[ChangedRows]:
    own = [each for each in stored_folders(root) if each.path.parent == root / "datasets" / name]
    for folder in sorted(own, key=lambda each: each.kind == INDEX):
        for file in open_all(folder):
            n_rows = file.parquet.metadata.num_rows
            if not dry_run:
                remove_file(file.path)
            yield counted(folder.kind, file, n_rows, n_rows)


def _fingerprints(root: Location, name: str) -> set[str]:
    return IndexStore(root, name).fingerprints()


def _classifiers(root: Location, name: str) -> Iterator[tuple[Location, int]]:
    folder = classifier_folder(root, name)
    for entry in storage.list_entries(folder):
        if is_content(entry.name):
            yield folder / entry.name, entry.size_bytes


def _remove_empty_folders(root: Location, name: str) -> None:
    for inner in ("images", "quarantine", "excluded"):
        storage.remove_empty_folder(root / "datasets" / name / inner)
    storage.remove_empty_folder(root / "datasets" / name)
    storage.remove_empty_folder(root / "champions" / name)
