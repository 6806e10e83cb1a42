"""The model that a recipe names as its teacher, in the registry or in a folder."""

from __future__ import annotations

from packshot.bundle import read_network
from packshot.config import Settings
from packshot.inference.weights import Source
from packshot.registry.models import bundle_path


def settled(settings: Settings) -> Settings:
    """These settings with the version that `champion`, or another alias, is now as the teacher.

    A run key names what a model was made from, and an alias moves. Raises what `bundle_path` raises.
    """
    named = settings.training.chosen.teaching_model
    if named is None:
        return settings
    version = bundle_path(settings, named)[1].model_version
    return settings if version is None else settings.taught_by(str(version))


def teacher_of(settings: Settings) -> Source | None:
    """The network that teaches the recipe in force; None where no model does. Raises BundleError and what `bundle_path`
    raises."""
    named = settings.training.chosen.teaching_model
    return None if named is None else read_network(bundle_path(settings, named)[0])
