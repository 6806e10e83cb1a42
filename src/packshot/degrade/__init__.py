"""Controlled degradations of an image by family and level, and full-reference scores of the result."""

from packshot.degrade.catalogue import DEGRADATIONS, FAMILY_ATTRIBUTE, LEVELS, Degradation, DegradationError, apply

__all__ = ["DEGRADATIONS", "FAMILY_ATTRIBUTE", "LEVELS", "Degradation", "DegradationError", "apply"]
