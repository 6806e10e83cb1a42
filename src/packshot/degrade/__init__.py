"""Controlled degradations of an image by family and level, and full-reference scores of the result."""

from packshot.degrade.catalogue import DEGRADATIONS, FAMILY_ATTRIBUTE, LEVELS, Degradation, DegradationError, apply
from packshot.degrade.mixes import Step, apply_mix, draw_mix, draw_singles

__all__ = [
    "DEGRADATIONS",
    "FAMILY_ATTRIBUTE",
    "LEVELS",
    "Degradation",
    "DegradationError",
    "Step",
    "apply",
    "apply_mix",
    "draw_mix",
    "draw_singles",
]
