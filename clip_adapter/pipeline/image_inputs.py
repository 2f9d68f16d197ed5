"""Image files as a user names them: files, folders, globs, tar archives, or a list."""

import glob
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clip_adapter.datasets import FolderOptions
from clip_adapter.datasets.folder_walk import FolderWalk
from clip_adapter.errors import DataError, UnreadableImageError
from clip_adapter.images import DEFAULT_OPTIONS, FolderReader, ReadOptions, read_image_file
from clip_adapter.images.tar_files import TAR_SUFFIXES, list_tar_images, read_tar_images

LIST = "-"
"""The input that stands for a list of paths on standard input."""

Content = bytes | UnreadableImageError


@dataclass(frozen=True, kw_only=True)
class ImageGroup:
    """Images that lie in one place and are read one after the other.

    Attributes:
        names: names of the images as a result shows them, in order.
        contents: function that reads the images, in the order of `names`: the bytes of each, or why
            they cannot be read.
        n_excluded: number of other files that lie there and are no images.
        n_damaged: 1 for an archive that cannot be read to its end: its own name is the last one then,
            and its content is why; else 0.
    """

    names: Sequence[str]
    contents: Callable[[], Iterator[Content]]
    n_excluded: int = 0
    n_damaged: int = 0


def find_images(
    inputs: Sequence[str], *, listed: Sequence[str] = (), read: ReadOptions = DEFAULT_OPTIONS
) -> list[ImageGroup]:
    """List the images that are named, in the order in which they are named.

    A file that is named is always an image, readable or not. Of a folder or archive those files are
    images that begin like one or are called like one; folders are walked with all below them, hidden
    files left out, sorted by path. Of a damaged archive what lies before the damage is listed, and then
    the archive itself.

    Args:
        inputs: paths of files, folders and tar archives, glob patterns (`**` for folders of any depth),
            or "-" for the paths in `listed`.
        listed: paths that stand for "-"; a file among them that is missing is a row of the result.
        read: how the files of folders may be read.

    Raises:
        FileNotFoundError: a named file is missing, or a pattern matches nothing.
        DataError: an archive is damaged before its first image, nothing is named, or no image is found.
    """
    groups = [group for each in inputs for group in _groups(each, listed, read)]
    if not any(group.names for group in groups):
        n = sum(group.n_excluded for group in groups)
        raise DataError(
            f"no image among {', '.join(map(repr, inputs))[:300] or 'no inputs'} ({n} other files): "
            "expected image files, folders, tar archives or patterns"
        )
    return groups


def _groups(name: str, listed: Sequence[str], read: ReadOptions) -> Iterator[ImageGroup]:
    if name == LIST:
        yield image_files(listed)
        return
    path = _path(name)
    if path.is_dir():
        yield _folder(name, path, read)
    elif path.name.casefold().endswith(TAR_SUFFIXES) and path.is_file():
        yield _archive(name, path)
    elif path.exists() or path.is_symlink():
        yield image_files([name])
    elif any(mark in name for mark in "*?["):
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # keeps the user's form
        if not found:
            raise FileNotFoundError(f"no file matches {name!r}: expected a pattern that does")
        for each in found:
            if "**" not in name or not Path(each).is_dir():  # whose files match as well
                yield from _groups(each, listed, read)
    else:
        raise FileNotFoundError(
            f"there is no {name!r}: expected an image file, a folder, a tar archive, a pattern, or - "
            "for a list of paths on standard input"
        )


def _path(name: str) -> Path:
    """The path of an input, where `~` is the home of a user that exists."""
    if not name:
        raise FileNotFoundError("an input is empty: expected a path, as of a variable that is set")
    with suppress(RuntimeError):
        return Path(name).expanduser()
    return Path(name)


def image_files(names: Sequence[str]) -> ImageGroup:
    """Image files by their paths, readable or not."""

    def contents() -> Iterator[Content]:
        for name in names:
            yield _content(lambda path=Path(name): read_image_file(path))  # type: ignore[misc]

    return ImageGroup(names=names, contents=contents)


def _content(read: Callable[[], bytes]) -> Content:
    try:
        return read()
    except UnreadableImageError as error:
        return error


def _folder(name: str, folder: Path, read: ReadOptions) -> ImageGroup:
    walk = FolderWalk(folder, FolderOptions(read=read))
    files = walk.files_below("")
    paths = walk.images_among(files)

    def contents() -> Iterator[Content]:
        with FolderReader(folder, read) as reader:
            for path in paths:
                yield _content(lambda path=path: reader.read(path))  # type: ignore[misc]

    return ImageGroup(
        names=[str(Path(name) / path) for path in paths],
        contents=contents,
        n_excluded=len(files) - len(paths) + len(walk.excluded),
    )


def _archive(name: str, path: Path) -> ImageGroup:
    listing = list_tar_images(path)
    damaged = [name] if listing.damage else []
    return ImageGroup(
        names=[*(f"{name}/{member}" for member in listing.names), *damaged],
        contents=lambda: read_tar_images(path, listing),
        n_excluded=listing.n_excluded,
        n_damaged=len(damaged),
    )
