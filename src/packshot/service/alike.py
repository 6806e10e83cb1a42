"""Pictures of the desk that look alike in style: every one compared, without an index that would have to be made."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from packshot.exports.source import VerdictFile
from packshot.service.grid import Grid, Shelf
from packshot.service.verdict_rows import Item


@dataclass(frozen=True)
class _Space:
    """The style vectors of one model's pictures, N x style_dim, each of length 1, and the N pictures."""

    items: list[Item]
    rows: dict[str, int]
    vectors: NDArray[np.float32]


class Alike:
    """Nearest pictures by style among those that the same model scored. Several threads may ask."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._lock = threading.Lock()
        self._read: tuple[Shelf, dict[str, _Space]] | None = None

    def nearest(self, item: Item, count: int) -> list[tuple[Item, float]]:
        """The `count` pictures of other SKUs that are most alike, with the cosine of the style vectors, -1 to 1; none
        where the picture has no style vector. Raises VerdictsUnreadable, LedgerError."""
        space = self._space(item.file.model)
        row = space.rows.get(item.id)
        if row is None or not space.vectors[row].any():
            return []
        cosines = space.vectors @ space.vectors[row]
        near = np.argsort(-cosines, kind="stable")
        found: list[tuple[Item, float]] = []
        for place in near:
            other = space.items[place]
            if other.id != item.id and (item.sku is None or other.sku != item.sku):
                found.append((other, float(cosines[place])))
            if len(found) == count:
                break
        return found

    def _space(self, model: str) -> _Space:
        shelf = self._grid.shelf()
        with self._lock:
            if self._read is None or self._read[0] is not shelf:
                self._read = shelf, {}
            spaces = self._read[1]
            if model not in spaces:
                spaces[model] = _space_of([item for item in shelf.items if item.file.model == model])
            return spaces[model]


def _space_of(items: list[Item]) -> _Space:
    places: dict[int, dict[int, Item]] = {}
    files: dict[int, VerdictFile] = {}
    for item in items:
        places.setdefault(id(item.file), {})[item.number] = item
        files[id(item.file)] = item.file
    kept: list[Item] = []
    parts: list[NDArray[np.float32]] = []
    for key, here in places.items():
        start = 0
        for part in files[key].batches(("style_vector",)):
            column = part["style_vector"]
            there = np.flatnonzero(pc.is_valid(column).to_numpy(zero_copy_only=False))
            vectors = pc.list_flatten(column).to_numpy(zero_copy_only=False).astype(np.float32)
            wanted = [place for place, number in enumerate(there) if start + int(number) in here]
            if wanted:
                parts.append(vectors.reshape(len(there), -1)[wanted])
                kept += [here[start + int(there[place])] for place in wanted]
            start += part.num_rows
    together = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
    lengths = np.linalg.norm(together, axis=1, keepdims=True)
    np.divide(together, lengths, out=together, where=lengths > 0)
    return _Space(kept, {item.id: row for row, item in enumerate(kept)}, together)
