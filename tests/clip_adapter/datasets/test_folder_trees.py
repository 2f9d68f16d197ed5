"""A law: whatever a folder holds, each of its files is used, excluded or quarantined, and none outside is opened."""

import builtins
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip_adapter.datasets import FolderOptions, build_index
from clip_adapter.datasets.imagefolder import open_imagefolder
from clip_adapter.images import ReadOptions

NFC, NFD = "For\u00eat", "Fore\u0302t"
PLAIN = (NFC, "dog")
IN_SPLITS = (f"Train/{NFC}", "Train/Dog", f"test/{NFD}", "test/dog", "dev/dog")
BESIDE = ("", ".git", "__MACOSX")
"""Where files may lie beside the class folders of `PLAIN`."""
LEFT_OUT = {"__MACOSX", "skip"}
FILES = ("1.png", "2.JPG", "3", "notes.txt", "Thumbs.db", ".hidden", "old.tmp", "new.avif")
FOLDERS = ("", "sub", "sub/deep", ".ipynb_checkpoints", "skip", "__MACOSX")
TARGETS = {  # of links, from the folder that holds them; what is no path is a name below the dataset
    "itself": "link",
    "here": ".",
    "above": "..",
    "nothing": "absent",
    "root": "{folder}",
    "top": "{folder}/top.png",
    "shared": "{folder}/.shared",
    "outside": "{outside}",
    "outside file": "{outside}/1.png",
    "elsewhere": "{elsewhere}",
    "elsewhere file": "{elsewhere}/1.png",
}


def _png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [_png(number) for number in range(20)]
CONTENTS = [*PICTURES[:4], PICTURES[4][:50], b"", b"no image"]
"""Pictures that two classes may share, and what is no picture."""

entries = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(FOLDERS),
        st.one_of(
            st.tuples(st.sampled_from(FILES), st.sampled_from(CONTENTS)),
            st.tuples(st.sampled_from(("link", "2.png")), st.sampled_from(sorted(TARGETS))),
            st.just(("pipe.png", None)),
        ),
    ),
    max_size=25,
)


class Tree:
    """A dataset with a hidden folder that links lead to, and two folders outside."""

    def __init__(self, place: Path, *, in_splits: bool) -> None:
        self.folder, self.outside = place / "pets", place / "outside"
        self.elsewhere = place / "elsewhere"
        self.classes = IN_SPLITS if in_splits else PLAIN
        for number, name in enumerate(self.classes):
            put(self.folder / name / "own.png", PICTURES[10 + number])
        for number, folder in enumerate((self.outside, self.elsewhere, self.folder / ".shared")):
            put(folder / "1.png", PICTURES[16 + number])
            put(folder / "sub" / "notes", b"no image")
        (self.folder / self.classes[0] / ".." / "empty").mkdir()
        (self.outside / "back").symlink_to(self.folder)
        (self.folder / ".shared" / "out").symlink_to(self.elsewhere)

    def add(self, where: int, below: str, name: str, what: Any) -> None:
        places = (*self.classes, *(() if len(self.classes) > 2 else BESIDE))
        place = places[where % len(places)]
        # A folder at the top would be a class, perhaps without a single image.
        path = self.folder / place / (below if place else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) or (path.parent == self.folder and what in TARGETS):
            return
        if what is None:
            os.mkfifo(path)
        elif what in TARGETS:
            path.symlink_to(TARGETS[what].format(**vars(self)))
        else:
            path.write_bytes(what)

    def n_files(self, allowed: list[Path]) -> int:
        """The files in the dataset, links to folders walked as they should be, others counted."""
        total, entered = 0, set()
        depth = 1 + (len(self.classes) > 2)
        for here, folders, files in os.walk(self.folder):
            total += len(files)
            for link in (path for name in folders if (path := Path(here, name)).is_symlink()):
                parts, target = link.relative_to(self.folder).parts, link.resolve()
                hidden = any(part[0] == "." or part in LEFT_OUT for part in parts)
                circle = link.parent.resolve().is_relative_to(target)
                inside = any(target.is_relative_to(root) for root in (self.folder, *allowed))
                first = (parts[:depth], target) not in entered
                if inside and first and not circle and not hidden:
                    entered.add((parts[:depth], target))
                    total += n_entries(target)
                else:
                    total += 1
        return total


def n_entries(folder: Path) -> int:
    return sum(
        len(files) + sum(os.path.islink(os.path.join(here, name)) for name in folders)  # noqa: PTH114, PTH118
        for here, folders, files in os.walk(folder)
    )


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def opened() -> Iterator[list[Path]]:
    """The real paths of all files and folders that are opened."""
    seen: list[Path] = []

    def by_descriptor(function: Callable[..., int]) -> Callable[..., int]:
        def call(*args: Any, **kwargs: Any) -> int:
            descriptor = function(*args, **kwargs)
            seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
            return descriptor

        return call

    def by_path(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(Path(path).resolve())
            return function(path, *args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", by_descriptor(os.open))
        for module, name in ((os, "scandir"), (os, "listdir"), (builtins, "open")):
            patch.setattr(module, name, by_path(getattr(module, name)))
        yield seen


@settings(max_examples=40, deadline=None)
@given(in_splits=st.booleans(), follow=st.booleans(), entries=entries)
def test_every_file_is_counted_and_nothing_outside_is_opened(
    *, in_splits: bool, follow: bool, entries: list[tuple[int, str, tuple[str, Any]]]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        tree = Tree(Path(place).resolve(), in_splits=in_splits)
        for where, below, (name, what) in entries:
            tree.add(where, below, name, what)
        allowed = [tree.outside] if follow else []
        read = ReadOptions(follow_links=tree.outside if follow else None)

        with opened() as seen:
            source = open_imagefolder(
                tree.folder, FolderOptions(ignore=("*.tmp", "*/skip"), read=read)
            )
            index = build_index(source, max_bad_fraction=1, workers=1)

        counted = [*index.paths, *(file.path for file in (*index.excluded, *index.quarantined))]
        assert len(counted) == len(set(counted)) == tree.n_files(allowed)
        roots = (tree.folder, *allowed)
        assert [path for path in seen if not any(map(path.is_relative_to, roots))] == []
        assert any(path.name == "own.png" for path in seen)
