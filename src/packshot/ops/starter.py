"""`make starter`: the model that comes with the package, of sets whose licences let anybody use it.

Its test split is that of the demo, whose catalogue is collected and split here too: so none of those groups teaches it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from packshot.bundle import read_record
from packshot.catalog.held_out import read_held_out
from packshot.catalog.narrowing import narrow
from packshot.catalog.source_record import SourceRecord, read_source
from packshot.catalog.sources.declared import read_sources, sources_path
from packshot.config import Settings
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.run import evaluate
from packshot.evaluation.thresholds import in_force, read_rated
from packshot.files import write_text
from packshot.ops.teacher import teacher_of
from packshot.progress import say
from packshot.registry.card import model_card
from packshot.revision import RunKey
from packshot.starter import ARCHIVE, CARD, pack
from packshot.training.features import build_features
from packshot.training.layout import OUT_OF_FOLD
from packshot.training.recorder import NullRecorder
from packshot.training.run import train

PROFILE = "starter"
RECIPE = "student"


def run(settings: Settings, folder: Path) -> dict[str, Any]:
    """Make the starter model below `folder`: `catalogue`, the demo's data and split; `model`, a workspace of the sets
    of profile `starter`, with the bundle and its figures; CARD.md. What is there already is not made again where the
    step finds that out by itself. Raises SourceError where the source lacks a set.
    """
    settings = settings.with_recipe(RECIPE)
    whole, own = folder / "catalogue", folder / "model"
    gather(settings, whole)
    narrow(settings, whole, PROFILE, own)
    build_features(settings, own, teacher_of(settings))
    bundle = train(settings, own, NullRecorder())
    figures = evaluate(settings, own)
    card = card_of(settings, own, bundle, figures)
    write_text(folder / CARD, card)
    archive = folder / ARCHIVE.name
    pack(bundle, card, archive)
    say(f"starter: {archive}, {archive.stat().st_size / 2**20:.1f} MiB; it comes with the package as {ARCHIVE}")
    made = {"bundle": str(bundle), "bundle_sha256": bundle_digest(bundle), "archive": str(archive)}
    return made | {"card": str(folder / CARD), **figures}


def gather(settings: Settings, whole: Path) -> None:
    """The catalogue that the demo trains on, split as there."""
    from packshot.catalog.collect import collect
    from packshot.catalog.split import split
    from packshot.catalog.validate import validate

    collect(settings, whole)
    validate(settings, whole)
    split(settings, whole)


def card_of(settings: Settings, workspace: Path, bundle: Path, figures: dict[str, float]) -> str:
    """The model card of a bundle made in a workspace of the starter's sets."""
    bounds = in_force(settings.scoring, read_rated(bundle / OUT_OF_FOLD))
    record = read_record(bundle)
    key = RunKey(**record.run_key)
    figures = figures | {name: value for name, value in record.metrics.items() if name.startswith("faults/")}
    note = (
        "The model that comes with the package, for a shop that has none of its own yet. It names no styles: give five "
        "examples of each (`packshot styles`)."
    )
    return model_card(
        without_styles(settings),
        _from_the_public(read_source(workspace), workspace),
        key,
        figures,
        bounds,
        note=note,
        held_out=read_held_out(bundle),
    )


def _from_the_public(source: SourceRecord, workspace: Path) -> SourceRecord:
    """The record with the public addresses of its sets, wherever they were read: a card is for others."""
    declared = read_sources(sources_path(workspace)).of(tuple(source.sets), workspace)
    public = {name: each.public.address for name, each in declared.items() if each.public is not None}
    sets = {name: replace(each, address=public.get(name, each.address)) for name, each in source.sets.items()}
    return replace(source, sets=sets)


def without_styles(settings: Settings) -> Settings:
    """These settings without the gates that ask for styles, of which the starter's sets name none."""
    gates = tuple(gate for gate in settings.registry.gates if "{style}" not in gate.metric)
    return settings.model_copy(update={"registry": settings.registry.model_copy(update={"gates": gates})})
