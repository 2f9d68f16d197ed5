"""Tar archives of images in the form of WebDataset, on this machine or in an object store.

Members with one name up to the first dot of its last part are a sample: `0001.jpg`, with its label in
`0001.cls` or in `0001.json`. Archives without such members have their images as `class/image.jpg`.
Nothing is unpacked.
"""

import glob
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from clip_adapter.datasets.folder_walk import NOT_AN_IMAGE, compile_pattern
from clip_adapter.datasets.labelled_rows import (
    LabelledRow,
    RowReading,
    as_text,
    source_of_rows,
    split_named_in,
)
from clip_adapter.datasets.sources import FolderOptions, ImageSource
from clip_adapter.datasets.splits import SPLIT_NAMES
from clip_adapter.errors import DatasetError, UnreadableImageError
from clip_adapter.images import (
    ContainerReader,
    ImageFolder,
    has_image_suffix,
    image_folder,
    open_images,
)

COLUMNS: Final = ("label", "split", "group")
MAX_SIDECAR_BYTES: Final = 2**20
"""Largest size of a `.cls` or `.json` member that is read."""
MAX_SHARDS: Final = 100_000
_WILDCARD = re.compile(r"[*?\[{]")
_BRACES = re.compile(
    r"\{(?:(?P<first>\d{1,9})\.\.(?P<last>\d{1,9})|(?P<words>[^{}]*,[^{}]*))\}", re.ASCII
)
_SIDECARS = ("cls", "json")


def open_webdataset(pattern: str, images: Path | None, options: FolderOptions) -> ImageSource:
    """The dataset in the tar archives that a pattern names.

    The split of an image is that in the name of its archive (`train-000.tar`, `val/0.tar`), in its `.json`,
    or the folder above its class; without one it is decided when the images are indexed.

    Args:
        pattern: path or URL of archives, with `*`, `{000..099}`, and `**` for folders of any depth.
        images: not accepted; the images are in the archives.
        options: what the user says about the dataset; columns are keys of the `.json` members.

    Raises:
        DatasetError: nothing matches, an archive is compressed or damaged, the store cannot be reached, or
            the archives hold no dataset.
    """
    if images is not None:
        raise DatasetError("the images of webdataset:GLOB are in its archives; drop --images")
    folder, name, found = _find(pattern)
    reading = RowReading(f"webdataset:{pattern}", options)
    shards = [each for each in found if not reading.is_ignored(each)]
    if not shards:
        raise DatasetError(
            f"no tar archive matches {pattern!r:.300}; write webdataset:GLOB, as shards/*.tar"
        )
    if len(shards) > MAX_SHARDS:
        raise DatasetError(
            f"{pattern!r:.300} matches {len(shards):,} archives, more than {MAX_SHARDS:,}"
        )
    compressed = [each for each in shards if not each.lower().endswith(".tar")]
    if compressed:
        raise DatasetError(
            f"{compressed[0]!r:.200} is no .tar archive: only uncompressed ones are read in place; "
            "decompress it, or name others"
        )
    with open_images(folder, options.read) as reader:
        archives = _Archives(reader, shards, reading)
        for row in archives.rows():
            reading.add(row)
    return source_of_rows(reading, name=name, folder=folder, notes=_missing(pattern, found))


def _find(pattern: str) -> tuple[ImageFolder, str, list[str]]:
    """The place above the archives, the name of the dataset, and the paths of archives, sorted."""
    is_url = "://" in pattern
    plain, mark, options = pattern.partition("?") if is_url else (pattern, "", "")
    base, slash = _above(plain)
    rest = plain[len(base) + len(slash) :]
    found: set[str] = set()
    place: ImageFolder
    if is_url:
        place = image_folder(f"{base}{mark}{options}")
        if isinstance(place, Path):
            raise DatasetError(
                f"{plain!r:.200}: expected a path, or a URL as s3://bucket/shards/*.tar"
            )
        files = place.files()
        for each in _expanded(rest):
            wanted = compile_pattern(each.replace("**/", "*"))
            depth = None if "**" in each else each.count("/")
            found |= {
                file
                for file in files
                if wanted.fullmatch(file) and depth in {None, file.count("/")}
            }
    else:
        place = Path(base or slash or ".").expanduser()
        if (place / rest).is_dir():
            raise DatasetError(
                f"{pattern!r:.300} is a folder; write webdataset:{pattern.rstrip('/')}/*.tar"
            )
        for each in _expanded(rest):
            found |= set(glob.glob(each, root_dir=place, recursive=True))  # noqa: PTH207  # relative
    return place, name_of_pattern(pattern), sorted(found)


def _missing(pattern: str, found: Collection[str]) -> list[str]:
    """A sentence about the archives that braces name and that are not there; none if all are."""
    plain = pattern.partition("?")[0] if "://" in pattern else pattern
    base, slash = _above(plain)
    named = _expanded(plain[len(base) + len(slash) :])
    missing = [each for each in named if not _WILDCARD.search(each) and each not in found]
    if not missing:
        return []
    said = (
        f"{len(missing):,} of the {len(named):,} archives that {pattern!r:.300} names are not there"
    )
    return [f"{said}, as {missing[0]!r:.200}"]


def _above(pattern: str) -> tuple[str, str]:
    """The folder above the first wildcard, or above the archive, and the slash behind it."""
    wildcard = _WILDCARD.search(pattern)
    base, slash, _ = (pattern[: wildcard.start()] if wildcard else pattern).rpartition("/")
    return base, slash


def _expanded(pattern: str) -> list[str]:
    """The patterns that one with braces stands for, as WebDataset writes them.

    >>> _expanded("{train,val}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']

    Raises:
        DatasetError: they are more than `MAX_SHARDS`.
    """
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    if found["first"] is None:
        words = found["words"].split(",")
    else:
        first, last = int(found["first"]), int(found["last"])
        if last - first >= MAX_SHARDS:
            raise DatasetError(f"{found[0]} stands for more than {MAX_SHARDS:,} archives")
        words = [str(each).zfill(len(found["first"])) for each in range(first, last + 1)]
    before, after = pattern[: found.start()], _expanded(pattern[found.end() :])
    if len(words) * len(after) > MAX_SHARDS:
        raise DatasetError(f"{pattern!r:.200} stands for more than {MAX_SHARDS:,} archives")
    return [f"{before}{word}{rest}" for word in words for rest in after]


class _Archives:
    """The samples of some archives."""

    def __init__(self, reader: ContainerReader, shards: list[str], reading: RowReading) -> None:
        self._reader, self._shards, self._reading = reader, shards, reading
        self._asked = dict(reading.options.columns)

    def rows(self) -> Iterator[LabelledRow]:
        """One row for each image; other members are left out or read for their image."""
        labelled_by, wrapped = self._look()
        wanted = {labelled_by, "json"}
        for shard in self._shards:
            split = split_named_in(shard)
            said = self._sidecars(shard, wanted, labelled_by=labelled_by)
            for name in self._images(shard, in_samples=labelled_by != "folder"):
                values = said.get(_sample(name)[0], {})
                parts = [part for part in name.split("/") if part not in {"", "."}][wrapped:]
                inner = parts[0].lower() if len(parts) > 2 else ""
                if labelled_by == "folder":
                    parts = parts[1:] if inner in SPLIT_NAMES else parts
                    values = values | {"label": parts[0] if len(parts) > 1 else None}
                    values = values | ({"split": inner} if inner in SPLIT_NAMES else {})
                yield LabelledRow(
                    f"{shard}/{name}",
                    values.get("label"),
                    split or values.get("split"),
                    values.get("group"),
                )

    def _look(self) -> tuple[str, int]:
        """What has the labels, and how many folders are above all classes."""
        kinds: dict[str, str] = {}  # and a member of each
        tops: set[str] = set()
        has_folders = False
        for shard in self._shards:
            for name in self._names(shard):
                if has_image_suffix(name):
                    parts = [part for part in name.split("/") if part not in {"", "."}]
                    tops.add(parts[0] if len(parts) > 2 else "")
                    has_folders = has_folders or len(parts) > 1
                else:
                    kinds.setdefault(_sample(name)[1], f"{shard}/{name}")
        labelled_by = next((each for each in _SIDECARS if each in kinds), "folder")
        if "json" in kinds:
            content = self._reader.read_head(kinds["json"], MAX_SIDECAR_BYTES + 1)
            has_label = "label" in _object(content, what=kinds["json"])
            if "label" in self._asked:
                labelled_by = "json"
            elif labelled_by == "json" and not has_label and has_folders:
                labelled_by = "folder"  # what is beside the images describes them otherwise
        is_wrapped = len(tops) == 1 and not tops & {"", *SPLIT_NAMES}
        return labelled_by, int(is_wrapped)

    def _names(self, shard: str) -> Iterator[str]:
        try:
            yield from self._reader.members(shard)
        except UnreadableImageError as error:
            raise DatasetError(
                f"{shard!r:.200} of {self._reading.what} cannot be used: {error.reason}; fetch it again, "
                f"or leave it out (--ignore {shard!r:.200})"
            ) from error

    def _images(self, shard: str, *, in_samples: bool) -> Iterator[str]:
        """The members that are images; what else is no part of a sample is left out.

        In samples, `0001.seg.png` beside `0001.jpg` is a mask or the like, and left out.
        """
        exclude = self._reading.exclude
        for name, kind in self._reader.members(shard).left_out:
            exclude(f"{shard}/{name}", kind)
        n_of: dict[str, int] = {}
        samples, with_plain = set(), set()
        for name in self._names(shard):
            n_of[name] = n_of.get(name, 0) + 1
            if has_image_suffix(name):
                sample, kind = _sample(name)
                samples.add(sample)
                if "." not in kind:
                    with_plain.add(sample)
        for name, n in n_of.items():
            for _ in range(n - 1):
                exclude(f"{shard}/{name}", "replaced by a later member of its name")
            reason = _unusable(name)
            sample, kind = _sample(name)
            if in_samples and "." in kind and sample in with_plain and has_image_suffix(name):
                reason = reason or "another image of its sample"
            if not reason and has_image_suffix(name):
                yield name
            elif reason or sample not in samples:
                exclude(f"{shard}/{name}", reason or NOT_AN_IMAGE)

    def _sidecars(
        self, shard: str, wanted: set[str], *, labelled_by: str
    ) -> dict[str, dict[str, str | None]]:
        """What the members beside the images of an archive say, by sample."""
        columns = [each for each in COLUMNS if each != "label" or labelled_by == "json"]
        said: dict[str, dict[str, str | None]] = {}
        for name in self._names(shard) if wanted else ():
            sample, kind = _sample(name)
            if kind not in wanted:
                continue
            what = f"{shard}/{name}"
            content = self._reader.read_head(what, MAX_SIDECAR_BYTES + 1)
            values = said.setdefault(sample, {})
            if kind == "cls":
                values["label"] = _text(content, what=what)
            else:
                document = _object(content, what=what)
                for ours in columns:
                    found = as_text(document.get(self._asked.get(ours, ours)), what=what)
                    if found is not None:
                        values[ours] = found
        return said


def _sample(name: str) -> tuple[str, str]:
    """The sample that a member belongs to, and which part of it the member is.

    >>> _sample("a.b/0001.seg.png")
    ('a.b/0001', 'seg.png')
    """
    folder, slash, last = name.rpartition("/")
    stem, _, kind = last.partition(".")
    return f"{folder}{slash}{stem}", kind.lower()


def _unusable(name: str) -> str:
    """Why the name of a member cannot be a path; empty if it can."""
    parts = name.split("/")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if name.startswith("/") or ".." in parts:
        return "its name leads out of the archive"
    hidden = any(part.startswith(".") and part != "." for part in parts) or "__MACOSX" in parts
    return "hidden" if hidden else ""


def _text(content: bytes, *, what: str) -> str | None:
    try:
        return content.decode("utf-8-sig").strip() or None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{what!r:.300} is not UTF-8; expected a label as text") from error


def _object(content: bytes, *, what: str) -> Mapping[str, Any]:
    if len(content) > MAX_SIDECAR_BYTES:
        raise DatasetError(f"{what!r:.300} is larger than {MAX_SIDECAR_BYTES:,} bytes")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{what!r:.300} is no JSON: {str(error)[:200]}") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{what!r:.300} is a {type(values).__name__}; expected an object")
    return values


def name_of_pattern(pattern: str) -> str:
    """The name that a pattern gives its dataset, before anything is opened."""
    is_url = "://" in pattern
    plain = pattern.partition("?")[0] if is_url else pattern
    if not _WILDCARD.search(plain):
        return Path(plain).stem
    base, slash = _above(plain)
    return base.rpartition("/")[2] if is_url else Path(base or slash or ".").resolve().name
