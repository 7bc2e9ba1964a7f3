"""The regions most like a given one, in one pass over any number of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array, Float, Float32, Float64, Int64

_BLOCK = 256  # rows that are scanned at once, so that they stay in the processor's cache
_MARGIN = 1e-4  # above the error of any scan in single precision
_FLOATS = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)  # of every bit pattern; 4 times as fast as a conversion

Scan = Callable[[Array], Array]  # float16 [R, D] -> cosines float32 [R], each within 1e-5


class Nearest:
    """The k rows of a stream with the highest cosine to a query, and what the caller says of each.

    A scan in single precision finds candidates; their cosines are computed again in double precision, row by row, so the result does not
    depend on the scan or on how the rows are cut into blocks. Order: cosine descending, ties as they came. Rows of zeros have cosine 0.

    Raises:
        ValueError: the query is all zeros or not finite.
    """

    def __init__(self, query: Float[Array, "D"], k: int, per_image: int | None = None, scan: Scan | None = None) -> None:
        """Args: per_image: at most so many rows of one image; all rows of an image must then come in one block."""
        self._query = unit(query)
        self._scan = scan or numpy_scan(query)
        self._k = k
        self._per_image = per_image
        self.found: list[tuple[float, Any]] = []

    def add(self, features: Float[Array, "R D"], images: Sequence[str], describe: Callable[[int], Any]) -> None:
        """Takes a block of float16 rows; `describe(row)` is kept for those that are among the best."""
        rows = self._candidates(np.concatenate([np.empty(0, np.float32), *(self._scan(block) for block in _blocks(features))]))
        cosines = exact_cosines(self._query, features[rows])
        ranked = np.argsort(-cosines, kind="stable")
        taken: Counter[str] = Counter()
        entering = []
        for index in ranked.tolist():
            image = images[rows[index]]
            if taken[image] != self._per_image:
                taken[image] += 1
                entering.append((float(cosines[index]), int(rows[index])))
        best = [(cosine, describe(row)) for cosine, row in entering[: self._k] if cosine > self._floor]
        self.found = sorted([*self.found, *best], key=lambda entry: -entry[0])[: self._k]

    @property
    def _floor(self) -> float:
        """What a row must exceed to enter."""
        return self.found[-1][0] if len(self.found) == self._k else -np.inf

    def _candidates(self, scanned: Float32[Array, "R"]) -> Int64[Array, "C"]:
        floor = self._floor
        if self._per_image is None and len(scanned) > self._k:
            floor = max(floor, float(np.partition(scanned, -self._k)[-self._k]))
        return np.flatnonzero(scanned >= floor - _MARGIN)


def unit(query: Float[Array, "D"]) -> Float64[Array, "D"]:
    """The query at length 1.

    Raises:
        ValueError: it has no direction.
    """
    exact = query.astype(np.float64)
    norm = np.linalg.norm(exact)
    if not (norm > 0 and np.isfinite(norm)):
        raise ValueError("the features of the query are all zero or not finite, so nothing is similar to it: take another layer or box")
    return exact / norm


def exact_cosines(query: Float64[Array, "D"], features: Float[Array, "C D"]) -> Float64[Array, "C"]:
    """Cosines of rows to a query of length 1; a row's bits do not depend on the others."""
    exact = features.astype(np.float64)
    norms = np.sqrt((exact * exact).sum(axis=1))
    return (exact * query).sum(axis=1) / np.where(norms > 0, norms, 1.0)


def numpy_scan(query: Float[Array, "D"]) -> Scan:
    """Cosines by NumPy."""
    direction = unit(query).astype(np.float32)

    def scan(features: Array) -> Array:
        rows = np.take(_FLOATS, features.view(np.uint16), mode="clip")
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        products = np.einsum("ij,j->i", rows, direction)  # not BLAS, whose threads cost more than they give on so few rows
        return products / np.where(norms > 0, norms, np.float32(1.0))

    return scan


def faiss_scan(query: Float[Array, "D"]) -> Scan:
    """Cosines by FAISS, which multiplies float16 rows as they are stored.

    Raises:
        ImportError: FAISS is not installed (extra: faiss).
    """
    import faiss

    faiss.omp_set_num_threads(1)  # a single query leaves nothing to share
    direction, origin = unit(query).astype(np.float32)[None], np.zeros((1, len(query)), np.float32)
    half = faiss.ScalarQuantizer.QT_fp16
    products = faiss.IndexScalarQuantizer(len(query), half, faiss.METRIC_INNER_PRODUCT)
    lengths = faiss.IndexScalarQuantizer(len(query), half, faiss.METRIC_L2)

    def scan(features: Array) -> Array:
        found = []
        for index, against in ((products, direction), (lengths, origin)):
            index.reset()
            index.add_sa_codes(features.view(np.uint8))
            values, rows = index.search(against, len(features))
            ordered = np.empty(len(features), np.float32)
            ordered[rows[0]] = values[0]
            found.append(ordered)
        return found[0] / np.sqrt(np.where(found[1] > 0, found[1], np.float32(1.0)))

    return scan


def _blocks(features: Array) -> list[Array]:
    contiguous = np.ascontiguousarray(features)
    return [contiguous[start : start + _BLOCK] for start in range(0, len(contiguous), _BLOCK)]
