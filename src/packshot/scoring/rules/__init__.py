"""Catalogue rules: what a shop asks of a picture, measured without a model.

A module here registers its rules by name; a profile of `params.yaml` says which of them count, at which bound and to
what effect. A new rule is a new module and a line in each profile that is to use it.
"""

from importlib import import_module
from pkgutil import iter_modules

from packshot.scoring.rules.findings import Finding, findings, measure, profile_in_force
from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import RULES, Rule

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["RULES", "Finding", "Picture", "Rule", "findings", "measure", "profile_in_force"]
