"""Extraction split by ranges of images, each a task that may run on a machine of its own."""

from collections.abc import Sequence
from dataclasses import replace

from tasks.encode_dataset import encode_dataset, encode_images
from tasks.record_extraction import record_extraction
from tasks.references import EncodedDataset, Encoding, IndexedDataset, Part
from tasks.runners import choose_parts

__all__ = ["encode_in_parts"]


def encode_in_parts(
    dataset: IndexedDataset,
    encoding: Encoding,
    *,
    view_rows: Sequence[int] | None = None,
    parts: int | None = None,
) -> EncodedDataset:
    """Encode what the cache lacks, and put on record how long that took; for a flow to call.

    Each part writes files of its own into the shared root, from which they are taken when all have
    ended. What a worker made before it died is there, and the next run makes the rest.

    Args:
        dataset: an indexed dataset.
        encoding: with what, and which views.
        view_rows: the rows of the images that get augmented views; all when None.
        parts: into how many the images are split; 1 is a single task, in this process. As
            `choose_parts` says when None.

    Raises as `encode_dataset`, when all parts have ended.
    """
    parts = choose_parts(parts)
    if parts == 1 or dataset.is_imported:
        encoded = encode_dataset(dataset, encoding, view_rows=view_rows)
    else:
        encoded = _encode_each(dataset, encoding, view_rows=view_rows, parts=parts)
    if encoded.n_encoded:
        record_extraction(encoded, device=encoding.device)
    return encoded


def _encode_each(
    dataset: IndexedDataset,
    encoding: Encoding,
    *,
    view_rows: Sequence[int] | None,
    parts: int,
) -> EncodedDataset:
    ranges = [Part(number=number, of=parts) for number in range(parts)]
    started = [
        encode_images.submit(dataset, encoding, part=part, view_rows=view_rows) for part in ranges
    ]
    for future in started:
        future.wait()
    made = [future.result() for future in started]
    # Finds all images there: what it does are the prompts and the merging of small files.
    whole = encode_dataset(dataset, encoding, view_rows=view_rows)
    n_encoded = sum(part.n_encoded for part in made)
    return replace(
        whole,
        n_encoded=whole.n_encoded + n_encoded,
        n_reused=whole.n_reused - n_encoded,
        seconds=whole.seconds + sum(part.seconds for part in made),
    )
