"""Lists the files below an untrusted folder: which links may be followed, what is left out and why."""

import fnmatch
import os
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from clip_adapter.datasets.sources import ExcludedFile, FolderOptions
from clip_adapter.images import (
    FolderReader,
    ImageReader,
    UnreadableImageError,
    has_image_suffix,
    image_format,
)

NOT_AN_IMAGE: Final = "not an image"
_OUTSIDE = "outside the class folders"
# What archives of macOS and the media server of Synology leave beside the files, thumbnails among it.
_LEFTOVERS = frozenset({"__MACOSX", "@eaDir"})
_AS_IT_IS = FolderOptions()


class FolderListing(NamedTuple):
    """What one folder holds, as sorted paths.

    Attributes:
        files: files, links to files and everything else that is no folder.
        folders: folders, and links to folders that may be followed.
        refused: links to folders that may not be followed.
        left_out: hidden and ignored files, also those below hidden and ignored folders.
    """

    files: list[str]
    folders: list[str]
    refused: list[str]
    left_out: list[ExcludedFile]


class FolderWalk:
    """Lists what lies below `folder`, and which files are left out and why.

    A name with a leading dot, `__MACOSX` and `@eaDir` are hidden, with all below them. A link to a
    folder is followed if it leads below `folder` or `options.read.follow_links`; what lies anywhere
    else is never opened. Paths are POSIX paths relative to `folder`.

    Attributes:
        excluded: files that `files_below` and its callers left out, no path twice.
    """

    def __init__(self, folder: Path, options: FolderOptions = _AS_IT_IS) -> None:
        self.excluded: list[ExcludedFile] = []
        self._folder = folder
        self._read = options.read
        allowed = (folder, options.read.follow_links)
        self._roots = [place.resolve() for place in allowed if place is not None]
        self._patterns = {pattern: compile_pattern(pattern) for pattern in options.ignore}
        self._unmatched = dict(self._patterns)
        self._listings: dict[str, FolderListing] = {}

    @property
    def unmatched(self) -> list[str]:
        """The patterns of `options.ignore` that matched no path so far."""
        return list(self._unmatched)

    def listing(self, path: str = "") -> FolderListing:
        """What lies in the folder at `path`; nothing is added to `excluded`.

        Raises:
            OSError: the folder cannot be listed.
        """
        if path not in self._listings:
            self._listings[path] = self._list(path)
        return self._listings[path]

    def files_below(self, path: str) -> list[str]:
        """All files in the folder at `path` and in the folders below it, sorted.

        Each folder is walked once, however many links lead to it: a link to a folder above itself, or to
        one that was walked already, is excluded as one file. So no tree of links takes longer than the
        folders it leads to. Links that may not be followed are listed as files, which cannot be read.

        Raises:
            OSError: a folder cannot be listed.
        """
        above = [path[:end] for end in range(len(path)) if path[end] == "/"]
        walked = {self._identity(each): each for each in ("", *above)}
        found: list[str] = []
        folders, links = deque([path]), deque[str]()
        while folders or links:
            # A folder is walked under its own path, not under that of a link to it.
            here = (folders or links).popleft()
            first = walked.setdefault(self._identity(here), here)
            if first != here:
                is_above = not first or here.startswith(f"{first}/")
                self.exclude([here], "link in a circle" if is_above else "folder linked twice")
                continue
            inside = self.listing(here)
            found += inside.files + inside.refused
            self.excluded += inside.left_out
            for inner in inside.folders:
                (links if (self._folder / inner).is_symlink() else folders).append(inner)
        return sorted(found)

    def images_among(self, paths: Iterable[str]) -> list[str]:
        """Those of the files that are meant to be images, or cannot be read to tell."""
        with FolderReader(self._folder, self._read) as reader:
            return [path for path in paths if may_hold_image(reader, [path])]

    def looks_like_class(self, path: str) -> bool:
        """Whether two files or more below a folder, and half of all, are images; nothing is excluded."""
        n_before = len(self.excluded)
        files = self.files_below(path)
        del self.excluded[n_before:]
        n_images = len(self.images_among(files))
        return n_images > 1 and 2 * n_images >= len(files)

    def exclude(self, paths: Iterable[str], reason: str) -> None:
        """Add files to `excluded`; a name that is not UTF-8 is written with escapes."""
        self.excluded += [_excluded(path, reason) for path in paths]

    def exclude_outside(self, paths: Iterable[str]) -> None:
        """Add files beside the class folders to `excluded`; those that are no images, as such."""
        beside = list(paths)
        images = self.images_among(beside)
        self.exclude(images, _OUTSIDE)
        self.exclude(sorted(set(beside) - set(images)), NOT_AN_IMAGE)

    def _identity(self, path: str) -> tuple[int, int]:
        status = (self._folder / path).stat()
        return status.st_dev, status.st_ino

    def _list(self, path: str) -> FolderListing:
        found = FolderListing([], [], [], [])
        prefix = f"{path}/" if path else ""
        with os.scandir(self._folder / path) as entries:
            for entry in sorted(entries, key=attrgetter("name")):
                inner = prefix + entry.name
                if self._is_ignored(inner):
                    found.left_out.extend(self._all_below(inner, "ignored"))
                elif entry.name[0] == "." or entry.name in _LEFTOVERS:
                    found.left_out.extend(self._all_below(inner, "hidden"))
                elif not _is_folder(entry):
                    found.files.append(inner)
                else:
                    (found.folders if self._may_enter(entry) else found.refused).append(inner)
        return found

    def _is_ignored(self, path: str) -> bool:
        if not self._patterns:
            return False
        path = unicodedata.normalize("NFC", path)
        matching = [text for text, pattern in self._patterns.items() if pattern.fullmatch(path)]
        for text in matching:
            self._unmatched.pop(text, None)
        return bool(matching)

    def _may_enter(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return True
        target = Path(os.path.realpath(entry.path))
        return any(target.is_relative_to(root) for root in self._roots)

    def _all_below(self, path: str, reason: str) -> Iterator[ExcludedFile]:
        """A file, or every file below a folder, where no link is followed."""
        waiting = [path]
        while waiting:
            here = waiting.pop()
            self._is_ignored(here)  # a pattern may match below a folder that is left out already
            names = _names_in(self._folder / here)
            if names is None:
                yield _excluded(here, reason)
            else:
                waiting += [f"{here}/{name}" for name in names]


def is_no_image(reader: ImageReader, path: str) -> bool:
    """Whether neither the name nor the first bytes of a file say that it is an image.

    Raises:
        UnreadableImageError: the first bytes are needed and cannot be read.
    """
    return not has_image_suffix(path) and image_format(reader.read_head(path)) is None


def may_hold_image(reader: ImageReader, paths: Sequence[str]) -> bool:
    """Whether a file among `paths` is meant to be an image, or cannot be read to tell."""
    if any(map(has_image_suffix, paths)):
        return True
    for path in paths:
        try:
            if not is_no_image(reader, path):
                return True
        except UnreadableImageError:
            return True
    return False


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of `fnmatch` for whole paths, in which `*` stands for any characters, `/` included."""
    path = unicodedata.normalize("NFC", pattern).removeprefix("./").rstrip("/")
    return re.compile(fnmatch.translate(path))


def _excluded(path: str, reason: str) -> ExcludedFile:
    return ExcludedFile(path.encode("utf-8", "backslashreplace").decode("utf-8"), reason)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to what this user may not see
        return False


def _names_in(place: Path) -> list[str] | None:
    """The names in a folder; None for a file, a link, and a folder that cannot be listed."""
    try:
        return None if place.is_symlink() else os.listdir(place)  # noqa: PTH208 - names, not paths
    except OSError:
        return None
