"""What takes the room below a root, and what of it may be removed."""

from dataclasses import dataclass

from feature_cache import Location, storage

_HOW_TO_FREE = {
    "features": "`cache drop`, `cache gc --unreferenced`; encoded again when needed",
    "datasets": "`datasets forget`",
    "runs": "`runs prune`; trained again when asked for",
    "champions": "keep: every promoted classifier, for rollbacks",
    "reports": "may be deleted; `clip-adapter report` writes them anew",
    "prefect": "history and logs of Prefect; may be moved away after `clip-adapter down`",
    "images": "downloaded or made here; `datasets fetch` gets published ones again",
}
OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one folder of a root takes.

    Attributes:
        what: name of the folder, as "features"; "other" for what this program does not know.
        n_files: number of files in it and below, unfinished and damaged ones included.
        size_bytes: their size.
        how_to_free: what may be removed, and by which command.
    """

    what: str
    n_files: int
    size_bytes: int
    how_to_free: str


def disk_usage(root: Location) -> list[Usage]:
    """What each folder of a root takes, those that are missing left out.

    A link to a folder directly below the root, as of `images` to another disk, counts as that folder; links
    further down are not followed.

    Args:
        root: folder or URL of the store.

    Raises:
        OSError: a folder cannot be listed.
    """
    found = {name: _sizes(root / name) for name in storage.list_folders(root)}
    entries = storage.list_entries(root)
    loose = [each.size_bytes for each in entries if not each.is_folder and each.name not in found]
    others = [size for name in found.keys() - _HOW_TO_FREE.keys() for size in found[name]]
    rows = [_usage(name, found[name], how) for name, how in _HOW_TO_FREE.items() if name in found]
    if others or loose:
        rows.append(_usage(OTHER, [*others, *loose], "not written by this program"))
    return rows


def _usage(what: str, sizes: list[int], how_to_free: str) -> Usage:
    return Usage(what=what, n_files=len(sizes), size_bytes=sum(sizes), how_to_free=how_to_free)


def _sizes(folder: Location) -> list[int]:
    sizes = []
    for entry in storage.list_entries(folder):
        if entry.is_folder:
            sizes += _sizes(folder / entry.name)
        else:
            sizes.append(entry.size_bytes)
    return sizes
