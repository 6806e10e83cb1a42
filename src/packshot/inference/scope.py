"""Which pictures a set of styles is for: those like the ones that were given styles, by kind of product and by look."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from packshot.errors import PackshotError
from packshot.files import write_bytes

FILE = "scope.safetensors"
Matrix = npt.NDArray[np.float64]


class ScopeUnreadable(PackshotError):
    """The part of a bundle that tells which pictures its styles are for is damaged."""

    exit_code = 66


@dataclass(frozen=True)
class Scope:
    """A kernel machine between the pictures with styles and the others that the model was shown.

    `mean`, `scale`: D, of the embedding and the style vector, one after the other; `vectors` M x D, `weights` M, `bias`
    1, `gamma` 1: a radial kernel on what they standardise. `least` 1: the score from which a picture is in scope.
    """

    mean: Matrix
    scale: Matrix
    vectors: Matrix
    weights: Matrix
    bias: Matrix
    gamma: Matrix
    least: Matrix

    def covers(self, embedding: npt.NDArray[np.floating], style: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Whether each picture is of a kind whose styles were taught: N x E and N x style_dim to N."""
        return np.asarray(self.scores(embedding, style) >= self.least[0])

    def scores(self, embedding: npt.NDArray[np.floating], style: npt.NDArray[np.floating]) -> Matrix:
        """How much each picture is like those with styles, N; above 0 more than like the others."""
        x = self.scale * (np.concatenate([embedding, style], axis=1).astype(np.float64) - self.mean)
        squared = (x**2).sum(1)[:, None] + (self.vectors**2).sum(1)[None] - 2 * x @ self.vectors.T
        found: Matrix = np.exp(-self.gamma[0] * np.maximum(squared, 0)) @ self.weights + self.bias[0]
        return found


def write_scope(folder: Path, scope: Scope) -> None:
    """Write it into a bundle; the same scope gives the same bytes."""
    arrays = {each.name: np.ascontiguousarray(getattr(scope, each.name), dtype=np.float32) for each in fields(Scope)}
    write_bytes(folder / FILE, save(arrays))


def read_scope(folder: Path) -> Scope | None:
    """That of a bundle; None where it has none, and its styles are for all pictures. Raises ScopeUnreadable."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        arrays = {name: values.astype(np.float64) for name, values in load_file(path).items()}
        if not all(np.isfinite(values).all() for values in arrays.values()):
            raise ValueError("a number in it is not finite")
        return Scope(**arrays)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ScopeUnreadable(f"{path} does not say which pictures styles are for: {error}; train again") from error
