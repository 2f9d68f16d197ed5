"""Exact nearest neighbours by cosine, block by block in bounded memory.

A product in float32 finds the candidates of a block, and their cosines are computed again in
float64. So the result does not depend on how the rows were divided into blocks, and equal features
have equal cosines.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.encoders import can_be_normalised
from clip_adapter.encoders.features import LEAST_NORM
from clip_adapter.errors import DataError

BLOCK_BYTES = 64 * 2**20
"""Least size of blocks that are read and compared: the threads of a smaller product wait for one
another longer than they multiply."""
HELD_BLOCK_BYTES = 256 * 2**20
"""Least size of blocks that stay in memory, from which a product takes as long as one of all rows."""
_ROWS_AT_ONCE = 8_192
"""Candidates whose cosines are computed together: where all features are equal, all are candidates."""
_FLOAT32_ROUNDING = 2.0**-24


class FeatureBlock(NamedTuple):
    """Some features of unit length.

    Attributes:
        places: number of each row among all rows.
        features: features in float32.
    """

    places: Int[np.ndarray, " m"]
    features: Float[np.ndarray, "m d"]


@dataclass(frozen=True)
class NearestRows:
    """The rows most like a query, best first; of equal ones the first by its place.

    Attributes:
        places: number of each row among all rows.
        cosines: cosine of each row with the query.
        n_compared: number of rows that were compared.
    """

    places: Int[np.ndarray, " k"]
    cosines: Float[np.ndarray, " k"]
    n_compared: int


def unit_blocks(
    blocks: Iterable[tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m d"]]],
    *,
    at_least: int = BLOCK_BYTES,
) -> Iterator[FeatureBlock]:
    """Normalise features and join small blocks; rows that are zero or not finite are left out.

    Args:
        blocks: places of some rows, and their features of any length.
        at_least: least size in bytes of the features of a block, except the last.
    """
    waiting: list[FeatureBlock] = []
    size_bytes = 0
    for places, features in blocks:
        block = _unit_block(places, features)
        waiting.append(block)
        size_bytes += block.features.nbytes
        if size_bytes >= at_least:
            yield _joined(waiting)
            waiting, size_bytes = [], 0
    if waiting:
        yield _joined(waiting)


def _unit_block(places: Int[np.ndarray, " m"], features: Float[np.ndarray, "m d"]) -> FeatureBlock:
    # In float64: the square of a large float16 or float32 may overflow, that of a small one vanish.
    squares = np.einsum("md,md->m", features, features, dtype=np.float64)
    lengths = np.sqrt(squares).astype(np.float32)
    usable = (lengths > LEAST_NORM) & (lengths < np.inf)
    if not usable.all():
        places, features, lengths = places[usable], features[usable], lengths[usable]
    return FeatureBlock(places, np.divide(features, lengths[:, np.newaxis], dtype=np.float32))


def _joined(blocks: list[FeatureBlock]) -> FeatureBlock:
    if len(blocks) == 1:
        return blocks[0]
    places, features = zip(*blocks, strict=True)
    return FeatureBlock(np.concatenate(places), np.concatenate(features))


def find_nearest(
    query: Float[np.ndarray, " d"], blocks: Iterable[FeatureBlock], *, top: int
) -> NearestRows:
    """The `top` rows with the largest cosine.

    Beside a block, its products and the best rows so far, nothing is held.

    Args:
        query: feature of any length.
        blocks: all rows, each in one block.
        top: number of rows; all if there are fewer.

    Raises:
        DataError: the query is zero or not finite, or has another width than a block.
    """
    unit = _unit(query)
    rounded = unit.astype(np.float32)
    places, cosines, n_compared = np.empty(0, np.int64), np.empty(0), 0
    for block in blocks:
        _check_width(block, unit)
        worst = cosines[-1] if len(cosines) == top else -np.inf
        rows = _candidates(block.features @ rounded, worst, top=top, width=len(unit))
        parts = np.array_split(rows, 1 + len(rows) // _ROWS_AT_ONCE)
        found = np.concatenate([_cosines(block.features[part], unit) for part in parts])
        places = np.concatenate([places, block.places[rows]])
        cosines = np.concatenate([cosines, found])
        best = np.lexsort((places, -cosines))[:top]
        places, cosines, n_compared = places[best], cosines[best], n_compared + len(block.places)
    return NearestRows(places, cosines, n_compared)


def _candidates(
    products: Float[np.ndarray, " m"], worst: float, *, top: int, width: int
) -> Int[np.ndarray, " c"]:
    """The rows of a block that may be among the `top`, given the worst cosine so far.

    A product of unit vectors in float32 errs by less than (d + 2) roundings (Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1), and so may the product that it is compared with.
    """
    margin = 2 * (width + 2) * _FLOAT32_ROUNDING
    rows = np.flatnonzero(products >= worst - margin)
    if len(rows) > top:
        last = np.partition(products[rows], -top)[-top]
        rows = rows[products[rows] >= last - margin]
    return rows


def _cosines(
    features: Float[np.ndarray, "c d"], unit: Float[np.ndarray, " d"]
) -> Float[np.ndarray, " c"]:
    """Cosines in float64, each row summed in the same order; float32 has spoilt its length a little."""
    wide = features.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1))
    cosines: Float[np.ndarray, " c"] = np.clip((wide * unit).sum(axis=1) / lengths, -1, 1)
    return cosines


def _unit(query: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    if not can_be_normalised(query[np.newaxis])[0]:
        raise DataError("the feature of the query is zero or not finite: it has no direction")
    wide = query.astype(np.float64)
    unit: Float[np.ndarray, " d"] = wide / np.linalg.norm(wide)
    return unit


def _check_width(block: FeatureBlock, unit: Float[np.ndarray, " d"]) -> None:
    width = block.features.shape[1]
    if width != len(unit):
        raise DataError(
            f"the query is a feature of width {len(unit)}, and those of the images have width {width}: "
            "give one that the same encoder made"
        )
