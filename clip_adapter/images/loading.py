"""Prefetching of images: a few workers read, verify and decode them and make their views."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8

from clip_adapter.errors import ImageError, UnreadableImageError
from clip_adapter.images.containers import open_images
from clip_adapter.images.decoding import decode_image
from clip_adapter.images.object_folder import ImageFolder
from clip_adapter.images.reading import DEFAULT_OPTIONS, ImageReader, ReadOptions
from clip_adapter.images.views import Geometry

IMAGES_PER_CHUNK = 8  # what a worker is given at once
CHUNKS_AHEAD = 4  # per worker, one of which it is loading


@dataclass(frozen=True)
class WantedViews:
    """The views of one image to load.

    Attributes:
        path: path relative to the folder of the dataset.
        image_sha256: expected digest of the file.
        views: view numbers, see `Geometry.pixels`.
    """

    path: str
    image_sha256: bytes
    views: tuple[int, ...]


@dataclass(frozen=True)
class LoadedViews:
    """The pixels of the views of one image.

    Attributes:
        wanted: the views that were requested.
        pixels: pixels in the order of `wanted.views`.
    """

    wanted: WantedViews
    pixels: UInt8[np.ndarray, "v h w 3"]


def prefetch(
    folder: ImageFolder,
    wanted: Sequence[WantedViews],
    *,
    geometry: Geometry,
    processes: int = 0,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Iterator[LoadedViews]:
    """Yield the views of every image in order, while the next images are being loaded.

    At most 32 images per worker are loaded and not yet used.

    Args:
        folder: folder of the dataset.
        wanted: images and views to load.
        geometry: geometry of the pixels.
        processes: number of spawned processes; 0 loads in threads of this process, half as many as
            there are cores. Threads suffice while a core decodes faster than the encoder reads; many
            cores beside a fast GPU need processes.
        options: how the files may be read.

    Raises:
        ImageError: a file is gone, or not the file that was digested before: `changed_file`.
        UnreadableImageError: a file is unchanged but cannot be decoded here; the message names it.
    """
    workers = processes or max(1, (os.cpu_count() or 1) // 2)
    load = partial(_load_chunk, folder, geometry, options)
    with _executor(workers, processes=processes > 0) as pool:
        coming: deque[Future[list[LoadedViews]]] = deque()
        try:
            for first in range(0, len(wanted), IMAGES_PER_CHUNK):
                coming.append(pool.submit(load, wanted[first : first + IMAGES_PER_CHUNK]))
                if len(coming) >= workers * CHUNKS_AHEAD:
                    yield from coming.popleft().result()
            while coming:
                yield from coming.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _executor(workers: int, *, processes: bool) -> Executor:
    if not processes:
        return ThreadPoolExecutor(workers, thread_name_prefix="load-images")
    # Spawned: a forked child inherits the locks of threads that it does not have.
    spawning = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawning, initializer=_live_with_parent)


def _live_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it, also when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.join,), daemon=True).start()


def _end_after(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)


def _load_chunk(
    folder: ImageFolder, geometry: Geometry, options: ReadOptions, chunk: Sequence[WantedViews]
) -> list[LoadedViews]:
    with open_images(folder, options) as reader:
        load = partial(_load, geometry=geometry, max_pixels=options.max_pixels)
        return [_read_and_load(reader, folder, wanted, load=load) for wanted in chunk]


def _read_and_load(
    reader: ImageReader,
    folder: ImageFolder,
    wanted: WantedViews,
    *,
    load: Callable[..., LoadedViews],
) -> LoadedViews:
    data = _read(folder, wanted, reader)
    try:
        return load(data, wanted)
    except UnreadableImageError as error:
        # Another Pillow indexed it, or another machine that shares the root.
        raise UnreadableImageError(
            f"{wanted.path!r} in {folder} decoded when it was indexed and does not here: "
            f"{error.reason}; install the Pillow that indexed it, or take the file away"
        ) from error


def _read(folder: ImageFolder, wanted: WantedViews, reader: ImageReader) -> bytes:
    try:
        data = reader.read(wanted.path)
    except UnreadableImageError as error:
        raise _changed(folder, wanted, error.reason) from error
    if hashlib.sha256(data).digest() != wanted.image_sha256:
        raise _changed(folder, wanted, "its content is another")
    return data


def _changed(folder: ImageFolder, wanted: WantedViews, reason: str) -> ImageError:
    return ImageError(
        f"{wanted.path!r} in {folder} is not the file that was indexed a moment ago: {reason}; "
        "run again when no program changes the folder",
        changed_file=wanted.path,
    )


def _load(data: bytes, wanted: WantedViews, *, geometry: Geometry, max_pixels: int) -> LoadedViews:
    picture = decode_image(data, max_pixels=max_pixels)
    pixels = [
        geometry.pixels(picture, image_sha256=wanted.image_sha256, view=view)
        for view in wanted.views
    ]
    return LoadedViews(wanted, np.stack(pixels))
