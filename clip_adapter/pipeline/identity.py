"""Decides which dataset of the store a folder of images is: by its name, then by its images' digests.

A dataset is its name: the one that the user gives, else that of the folder. Earlier versions made the
name from the path, `imagefolder-<words>-<digits of the path's digest>`; such datasets keep their names.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from clip_adapter.datasets import (
    IMPORTED,
    OWN_FOLDER,
    DatasetError,
    FolderOptions,
    ImageSource,
    canonical_name,
    check_dataset,
    is_own_data,
    known_names,
    own_folder,
    own_name,
    reserved_names,
)
from clip_adapter.errors import UnknownNameError
from clip_adapter.images import ImageFolder
from clip_adapter.runs import RequestStore, current_index
from feature_cache import FeatureCacheError, IndexStore, Location, storage
from feature_cache.exchange import imported_names

Digests = AbstractSet[bytes]
"""SHA-256 digests of the image files of a dataset, each once."""


def keep_name_by_path(
    dataset: str, options: FolderOptions, *, root: Location, images: Path | None = None
) -> FolderOptions:
    """The options with the name that an earlier version gave this path, if the store has it.

    Without it, and for any other dataset than a folder, the options are returned unchanged.
    """
    if options.name is not None or not dataset.startswith(OWN_FOLDER):
        return options
    name = _name_by_path(own_folder(dataset, images=images))
    return replace(options, name=name) if name in _stored(root) else options


def candidate_names(
    dataset: str, slug: str, *, options: FolderOptions, root: Location, images: Path | None = None
) -> list[str]:
    """The names of the stored datasets that a dataset may be, before its images are read.

    Args:
        dataset: name as `open_dataset` takes it.
        slug: name that the folder and the options give it.
        options: what the user says about the folder; of a name that is given only the dataset of that
            name is a candidate or, if there is none, one that was renamed.
        root: folder or URL of the store.
        images: folder of this dataset, as `open_dataset` takes it.

    Returns:
        Sorted names, all in the store; empty for a new dataset.

    Raises:
        DatasetError: the dataset would have a name that is taken by another kind of dataset.
    """
    stored = _stored(root)
    own = stored & {slug}
    if not is_own_data(dataset):
        return sorted(own)
    is_taken = _is_taken(slug, stored, root)
    if not dataset.startswith(OWN_FOLDER):  # several tables may lie in one folder
        if is_taken:
            raise DatasetError(_taken(slug, dataset, root))
        return sorted(own or _renamed(_origins(root, stored), {slug}))
    folder = own_folder(dataset, images=images)
    if options.name:
        if is_taken:
            raise DatasetError(_taken(slug, folder, root))
        return sorted(own or _renamed(_origins(root, stored), {slug}))
    place, by_path = os.path.abspath(folder), _named_by_path(folder, stored)  # noqa: PTH100  # keeps links
    if (
        own
        and not is_taken
        and not by_path
        and place in sources_of(IndexStore(root, slug, _ignore))
    ):
        return [slug]  # as in every night: no other dataset is looked at
    # A folder of EuroSAT that is opened as one's own is another dataset, with other classes.
    origins = _origins(root, stored - reserved_names())
    before = {slug} | {name for each in origins.values() for name in each.first_names}
    by_path |= _renamed(origins, {slug} | _named_by_path(folder, before))
    if is_taken and not by_path:
        raise DatasetError(_taken(slug, folder, root))
    names = by_path if is_taken else by_path | own
    read = {name for name, each in origins.items() if place in each.sources}
    read = {
        name for name in read if last_spelling(root, name) is None
    }  # a table may lie there, too
    return sorted(read if read and not read & names else names)


def expected_name(
    dataset: str,
    *,
    root: Location,
    data: Path,
    images: Path | None = None,
    options: FolderOptions = FolderOptions(),  # noqa: B008  # is immutable
) -> str:
    """Check a dataset of images and return its name in the store, as far as it is known unread.

    Raises:
        UnknownNameError: there is no dataset of that name.
        DatasetError: the folder is missing, unreadable or not laid out as expected, or the name is
            taken or is that of a stored dataset, which is opened by its folder.
    """
    options = keep_name_by_path(dataset, options, root=root, images=images)
    try:
        slug = check_dataset(dataset, data=data, images=images, options=options)
    except UnknownNameError:
        if dataset in _stored(root):
            raise DatasetError(_how_to_open(dataset, root)) from None
        raise
    names = candidate_names(dataset, slug, options=options, root=root, images=images)
    return names[0] if len(names) == 1 else slug


def choose_name(
    source: ImageSource,
    digests: Digests,
    known: Mapping[str, Digests],
    *,
    is_given: bool = False,
    root: Location,
) -> str:
    """The name of the dataset that a folder of images is; `source.name` if it is a new one.

    A stored dataset is the same if it has had at least half of the images of the folder, or if the
    folder has at least half of the images that it has now: a folder that grew tenfold and one that was
    thinned out are still the datasets that they were.

    Args:
        source: the folder.
        digests: digests of the images in the folder.
        known: digests of all images that each of the `candidate_names` has had.
        is_given: whether the user named the dataset, which then is no other one than is the same.
        root: folder or URL of the store.

    Raises:
        DatasetError: several stored datasets are the same, none of those with such a name is, or
            another kind of dataset has the name; the message lists them and asks for a name.
    """
    if not any(known.values()):  # also where nothing of a damaged index could be read
        if _is_taken(source.name, _stored(root), root):
            raise DatasetError(_taken(source.name, source.folder, root))
        return source.name
    if is_given and source.name in known:
        return source.name  # whatever its images are
    same = [name for name in known if _is_same(digests, known[name], name=name, root=root)]
    if len(same) == 1:
        return same[0]
    if is_given and not same:
        return source.name
    n = len(digests)
    shared = {name: len(digests & known[name]) for name in known}
    if same:
        listed = " and ".join(f"{name!r} ({shared[name]} of {n} images)" for name in same)
        raise DatasetError(
            f"folder {source.folder} has the images of {len(same)} datasets: {listed}; write "
            "--name with the one to go on with, or with a new name"
        )
    nearest = max(known, key=lambda name: (shared[name], name))
    is_namesake = nearest == source.name or (
        isinstance(source.folder, Path) and nearest in _named_by_path(source.folder, {nearest})
    )
    raise DatasetError(
        f"folder {source.folder} {'is called like' if is_namesake else 'was indexed as'} dataset "
        f"{nearest!r}, but only {shared[nearest]} of its "
        f"{n} images are among the {len(known[nearest])} of that dataset: it is another dataset; name "
        f"it with --name, or write --name {nearest} to go on with that dataset"
    )


def stored_name(dataset: str, *, root: Location) -> str:
    """The name in the store of a dataset that is named as `train` takes it; its images are not read.

    That of `imagefolder:PATH` is the dataset whose current images were read from that folder, else the
    `expected_name`; that of a table or container follows from its own name.

    Raises:
        DatasetError: the folder does not exist, or is that of several datasets.
    """
    if (name := own_name(dataset)) is not None:
        names = candidate_names(dataset, name, options=FolderOptions(), root=root)
        return names[0] if len(names) == 1 else name
    if not dataset.startswith(OWN_FOLDER):
        name = dataset.removeprefix(IMPORTED)
        return name if name in _stored(root) else canonical_name(name)
    place = os.path.abspath(own_folder(dataset))  # noqa: PTH100  # keeps links
    found = [
        name
        for name in sorted(_stored(root))
        if place in sources_of(IndexStore(root, name)) and last_spelling(root, name) is None
    ]
    if len(found) > 1:
        raise DatasetError(
            f"{place} was indexed as {' and '.join(map(repr, found))}: write the name that you mean"
        )
    return found[0] if found else expected_name(dataset, root=root, data=Path())


def last_spelling(root: Location, name: str) -> str | None:
    """A stored dataset of own data as the last request spelled it; None where it was a folder or none."""
    history = RequestStore(root).history(name)
    spelled = json.loads(history[-1].parameters).get("dataset", "") if history else ""
    return spelled if isinstance(spelled, str) and own_name(spelled) is not None else None


def sources_of(store: IndexStore) -> list[str]:
    """The absolute folders, sorted, from which the current state of a dataset was read.

    Empty if none is recorded; several if the folder was moved.
    """
    current = current_index(store.root, store.dataset)
    return sorted(
        row["source"]
        for row in store.origins().to_pylist()
        if row["source"] is not None and current in {None, row["index_fingerprint"]}
    )


def _ignore(_: Location, __: FeatureCacheError) -> None:
    """Ignore a damaged file: its error is reported when the images are read."""


def _stored(root: Location) -> set[str]:
    return set(storage.list_folders(root / "datasets"))


def _is_taken(slug: str, stored: AbstractSet[str], root: Location) -> bool:
    return slug in reserved_names() or (
        slug in stored and slug in imported_names(root, on_corruption=_ignore)
    )


def _taken(slug: str, folder: ImageFolder | str, root: Location) -> str:
    message = f"{slug!r} is the name of another dataset: give that in {folder} another with --name"
    store = IndexStore(root, slug, _ignore)
    if slug in known_names() and os.path.abspath(str(folder)) in sources_of(store):  # noqa: PTH100  # keeps links
        # Indexed by a version that did not know a dataset of this name.
        message += f"; `clip-adapter datasets rename {slug} NAME` keeps the runs that it has under this one"
    return message


def _name_by_path(folder: Path) -> str:
    resolved = folder.resolve()
    digest = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]
    return "-".join(filter(None, ("imagefolder", _words(resolved), digest)))


def _words(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower())[:40].strip("-")


def _named_by_path(folder: Path, stored: AbstractSet[str]) -> set[str]:
    """The stored names that earlier versions gave to folders called like this one."""
    called = {_words(each) for each in (folder.resolve(), Path(os.path.abspath(folder)))}  # noqa: PTH100  # keeps links
    names = [re.fullmatch(r"imagefolder-(?:(.+)-)?[0-9a-f]{8}", name) for name in stored]
    return {found[0] for found in names if found and (found[1] or "") in called}


class _Origin(NamedTuple):
    """Where a stored dataset comes from.

    Attributes:
        first_names: the name under which it was first indexed, if it was renamed.
        sources: absolute folders from which its current images were read.
    """

    first_names: AbstractSet[str]
    sources: AbstractSet[str]


def _origins(root: Location, stored: AbstractSet[str]) -> dict[str, _Origin]:
    """The origins of stored datasets; of damaged files nothing is known."""
    found = {}
    for name in stored:
        store = IndexStore(root, name, _ignore)
        first = store.first_name()
        first_names = frozenset[str]() if first is None else frozenset({first})
        found[name] = _Origin(first_names, frozenset(sources_of(store)))
    return found


def _renamed(origins: Mapping[str, _Origin], before: AbstractSet[str]) -> set[str]:
    """The datasets that had one of the names before they were renamed."""
    return {name for name, each in origins.items() if each.first_names & before}


def _is_same(digests: Digests, known: Digests, *, name: str, root: Location) -> bool:
    if 2 * len(digests & known) >= len(digests):
        return True
    return any(2 * len(digests & state) >= len(state) for state in _states(root, name))


def _states(root: Location, name: str) -> Iterator[Digests]:
    """The images of the current index; of every index where no request says which is current."""
    # A damaged file was noticed when the sizes were read.
    store = IndexStore(root, name, on_corruption=lambda *_: None)
    current = current_index(root, name)
    fingerprints = store.fingerprints()
    for fingerprint in sorted(fingerprints & {current} or fingerprints):
        yield set(store.read(fingerprint).column("image_sha256").to_pylist())


def _how_to_open(name: str, root: Location) -> str:
    if name in imported_names(root):
        return f"{name!r} has imported features: write features:{name}"
    if (spelled := last_spelling(root, name)) is not None:
        return f"{name!r} is a dataset of this store: write {spelled}, perhaps with --name {name}"
    folders = sources_of(IndexStore(root, name))
    for folder in folders:
        if Path(folder).is_dir():
            return f"{name!r} is a dataset of this store: write imagefolder:{folder}"
    was = f", which was {folders[-1]}" if folders else ""
    return (
        f"{name!r} is a dataset of this store: write imagefolder:PATH --name {name} with the folder of "
        f"its images{was}"
    )
