"""Which source a run uses, and why: mirror, then public repositories, then package registries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packshot.catalog.source_record import SourceError
from packshot.catalog.sources.declared import SetDeclaration, Sources, read_sources, sources_path
from packshot.catalog.sources.mirror import mirror_folder, read_mirror, what_is_missing
from packshot.catalog.sources.packages import read_packages
from packshot.catalog.sources.public import read_public, why_unreachable
from packshot.catalog.sources.table import SourceTable
from packshot.config import DEFAULT_MIRROR, Settings
from packshot.home import Home


@dataclass(frozen=True)
class Choice:
    """A source: its profile, what was chosen and why, in words, and the declarations of its sets."""

    profile: str
    chosen: str
    why: str
    sets: Mapping[str, SetDeclaration]


def choose(settings: Settings, workspace: Path) -> Choice:
    """Choose as `source.use` says; `auto` takes the first that can be reached.

    Raises SourceError where the named source cannot serve, or a mirror was named that is missing.
    """
    where = sources_path(workspace)
    sources = read_sources(where)
    use = settings.source.use
    if use == "mirror":
        return _mirror(settings, sources, where)
    if use == "public":
        return _public(settings, sources, where)
    if use == "packages":
        return _packages(settings, sources, where, "named in the settings")
    return _first_reachable(settings, sources, where)


def read(choice: Choice, settings: Settings) -> SourceTable:
    """The labelled images of the chosen source, fetched where they have to be."""
    if choice.profile == "mirror":
        return read_mirror(mirror_folder(settings.source.mirror), choice.sets)
    downloads = Home.from_environment().downloads
    if choice.profile == "public":
        return read_public(choice.sets, downloads / "public", settings.source.seed)
    return read_packages(choice.sets, downloads / "packages", settings.source.seed)


def _first_reachable(settings: Settings, sources: Sources, where: Path) -> Choice:
    reasons = []
    for option in (_mirror, _public):
        try:
            return option(settings, sources, where)
        except NotServed as reason:
            reasons.append(str(reason))
            if option is _mirror and _mirror_was_named(settings):
                raise
    return _packages(settings, sources, where, "; ".join(reasons))


class NotServed(SourceError):
    """This source cannot serve the sets of its profile here and now."""


def _mirror_was_named(settings: Settings) -> bool:
    return bool(os.environ.get("PACKSHOT_MIRROR")) or settings.source.mirror != DEFAULT_MIRROR


def _mirror(settings: Settings, sources: Sources, where: Path) -> Choice:
    sets = sources.of(settings.profiles["mirror"].sets, where)
    folder = mirror_folder(settings.source.mirror)
    problem = what_is_missing(folder, sets)
    if problem:
        raise NotServed(
            f"the mirror cannot be used: {problem}. Correct PACKSHOT_MIRROR (or source.mirror in params.yaml), "
            "or choose another source by PACKSHOT_SOURCE=auto|public|packages"
        )
    return Choice("mirror", f"mirror {folder}", f"mirror found at {folder}", sets)


def _public(settings: Settings, sources: Sources, where: Path) -> Choice:
    sets = sources.of(settings.profiles["public"].sets, where)
    seconds = settings.source.network_timeout_s
    problem = why_unreachable(sets, seconds)
    if problem:
        raise NotServed(f"public repositories not reachable within {seconds:g} s: {problem}")
    return Choice("public", "public git repositories", "public repositories answered", sets)


def _packages(settings: Settings, sources: Sources, where: Path, why: str) -> Choice:
    sets = sources.of(settings.profiles["packages"].sets, where)
    return Choice("packages", "packages of the Debian registry", why, sets)
