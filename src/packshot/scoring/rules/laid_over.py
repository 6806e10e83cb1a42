"""Text, watermarks, badges and strips laid over whatever a picture shows: a photograph, or the product itself."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import Box, most

if TYPE_CHECKING:
    from packshot.inference.overlay_spotter import OverlaySpotter, Spotted


def place(picture: Picture) -> Box:
    """Where it lies."""
    return picture.once(_seen).box


@most(
    "laid_over",
    "Something is laid over the picture, such as text, a watermark, a badge or a strip; upload the picture without it.",
    unit="probability",
    where=place,
)
def laid_over(picture: Picture) -> float:
    """Probability that text, a watermark, a badge or a strip was laid over the picture after it was taken.

    A network tells it from print on the product, by what both look like on 320 pixels.
    """
    return picture.once(_seen).probability


def _seen(picture: Picture) -> Spotted:
    return _spotter().spot(picture.plan)


@cache
def _spotter() -> OverlaySpotter:
    from packshot.inference.overlay_spotter import load_overlay_spotter

    return load_overlay_spotter()
