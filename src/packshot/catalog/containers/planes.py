"""Where pixels are put as they are decoded: by default in memory of their own, in a decoding process where their owner
sees them, so that nobody has to copy them there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Make = Callable[[tuple[int, ...]], Pixels]


def scratch(shape: tuple[int, ...]) -> Pixels:
    """A plane of uint8, not filled, that is needed on the way only."""
    return np.empty(shape, np.uint8)


_makers: list[Make] = [scratch]


def empty(shape: tuple[int, ...]) -> Pixels:
    """A plane of uint8, not filled, for what is handed over."""
    return _makers[-1](shape)


@contextmanager
def handed_over_in(make: Make) -> Iterator[None]:
    """`empty` gives what `make` makes, in all threads."""
    _makers.append(make)
    try:
        yield
    finally:
        _makers.pop()
