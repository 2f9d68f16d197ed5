"""The result of a search as a contact sheet, read from the folders of the datasets."""

from collections import Counter
from contextlib import ExitStack
from typing import Any

from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import DEFAULT_OPTIONS, ImageReader, ReadOptions, image_folder, open_images
from clip_adapter.pipeline.datasets import MOST_THUMBNAILS, source_of, stored_state, thumbnail
from clip_adapter.pipeline.search import SearchResult
from clip_adapter.report.contact_sheet import ContactSheet, Row, Thumbnail
from feature_cache import IndexStore, Location


def search_sheet(result: SearchResult, *, read: ReadOptions = DEFAULT_OPTIONS) -> ContactSheet:
    """The images of a result in their order, at most `MOST_THUMBNAILS`, read from their folders.

    An image that is gone, changed or unreadable is a gap.

    Args:
        result: result of a search.
        read: how the image files may be read.
    """
    rows = result.to_arrow().slice(0, MOST_THUMBNAILS).to_pylist()
    names = dict.fromkeys(row["dataset"] for row in rows)
    folders = {name: _folder(result.root, name) for name in names}
    with ExitStack() as opened:
        readers = {
            name: opened.enter_context(open_images(image_folder(folder), read))
            for name, folder in folders.items()
            if folder is not None
        }
        thumbnails = tuple(
            _captioned(readers.get(row["dataset"]), row, several=len(names) > 1, read=read)
            for row in rows
        )
    title, *notes = map(escape_control_characters, result.summary)
    return ContactSheet(
        title=escape_control_characters(result.query),
        source=", ".join(folder for folder in folders.values() if folder),
        rows=(
            Row(
                class_name="by cosine",
                counts=Counter(row["split"] for row in rows),
                thumbnails=thumbnails,
            ),
        ),
        about="; ".join([title, *notes]),
    )


def _folder(root: Location, dataset: str) -> str | None:
    return source_of(IndexStore(root, dataset), stored_state(root, dataset))


def _captioned(
    reader: ImageReader | None, row: dict[str, Any], *, several: bool, read: ReadOptions
) -> Thumbnail:
    """The thumbnail of a row of a result, with its rank and cosine."""
    path = escape_control_characters(row["path"])
    parts = [f"{row['rank']}. {row['cosine']:.4f}", row["class_name"], row["split"]]
    parts += [row["dataset"]] if several else []
    parts += [f"other copies: {row['copies']}"] if row["copies"] else []
    note = escape_control_characters(", ".join(parts))
    if reader is None:
        return Thumbnail(path=path, split=row["split"], gap="its folder is not known", note=note)
    made = thumbnail(
        reader,
        row["path"],
        row["split"],
        image_sha256=bytes.fromhex(row["image_sha256"]),
        read=read,
    )
    gap = escape_control_characters(made.gap)
    return Thumbnail(path=path, split=row["split"], image=made.image, gap=gap, note=note)
