"""Rehearsals: a safeguard that was never seen at work is a hope."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packshot.catalog.source_record import HELD_BACK
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import write_json
from packshot.home import Home
from packshot.ops.pipeline import Outcome, champion_version
from packshot.progress import say
from packshot.serving.damage import RECORD
from packshot.workspace import workspace_of_data

if TYPE_CHECKING:
    from packshot.ops.rescue import Clean

NOTE = "drill: the champion with damaged weights; the gates must refuse it"
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


class NothingToDamage(PackshotError):
    """There is no good picture to plant damage on."""

    exit_code = 66


def bad_challenger(settings: Settings) -> Outcome:
    """Register a damaged copy of the champion as challenger, once for each champion.

    The gates must refuse it; nothing else tells this version from an honest one but its note.
    """
    from packshot.registry.damage import damaged_copy
    from packshot.registry.models import bundle_path
    from packshot.registry.register import register

    version = champion_version(settings)
    bundle, reference = bundle_path(settings, str(version))
    workspace = workspace_of_data(reference.key.data_rev)
    with tempfile.TemporaryDirectory(prefix="packshot-drill-") as scratch:
        damaged = Path(scratch) / "bundle"
        damaged_copy(bundle, damaged, seed=version)
        registered = register(settings, workspace.root, bundle=damaged, note=NOTE, require_metrics=False)
    if not registered.new:
        say(f"the drill against champion {version} was registered already, as version {registered.version}")
    return Outcome({"version": registered.version, "against": version}, done=registered.new)


def planted_damage(settings: Settings, folder: Path | None = None, count: int = 16, model: str = "champion") -> Outcome:
    """Plant each everyday damage on good pictures and let a model decide: what is rescued, harmed, passed on?

    `folder` holds the pictures (default: those of the catalogue's kind that were held back from training); at most
    `count` of them are taken, spread over their names. Nothing enters the index of pictures or the ledger. The batch,
    its verdicts and `rescue.json` lie below `drills/` of the home, and the report shows them. Raises NothingToDamage,
    and what `open_scorer` and `score` raise.
    """
    from packshot.catalog.image import ImageLimits
    from packshot.degrade.everyday import usual_plans
    from packshot.ops.rescue import CLEAN, by_plan, outcomes, plant
    from packshot.scoring.batch import score
    from packshot.scoring.scorer import open_scorer

    scorer = open_scorer(settings, model)
    source = folder if folder is not None else Home.from_environment().workspaces / "catalog" / HELD_BACK / "same"
    pictures = _good_pictures(source, count)
    target = damage_folder(scorer.digest)
    asked = {"pictures": [str(clean.path) for clean in pictures], "model": scorer.digest}
    if (found := _rehearsed(target, asked)) is not None:
        say(f"{scorer.lineage.label()} was tried on these pictures before: {target / RECORD}")
        return Outcome(found, done=False)
    shutil.rmtree(target, ignore_errors=True)
    limits = ImageLimits.from_settings(settings.validation)
    planted = plant(target / "batch", pictures, [CLEAN, *usual_plans()], limits)
    score(settings, target / "batch", target / "verdicts", scorer=scorer)
    rows = outcomes(target / "verdicts", target / "batch", planted, settings)
    figures = [{"damage": name} | each for name, each in by_plan(rows).items()]
    record = {"figures": figures, "folder": str(target), "asked": asked}
    write_json(target / RECORD, record | {"rows": json.loads(rows.to_json(orient="records"))})
    return Outcome(record)


def damage_folder(digest: str) -> Path:
    """Where the rehearsal with planted damage of a model, by the digest of its bundle, lies."""
    return Home.from_environment().drills / f"damage-{digest[:16]}"


def _rehearsed(target: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    try:
        record = json.loads((target / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {name: record[name] for name in ("figures", "folder", "asked")} if record.get("asked") == asked else None


def _good_pictures(folder: Path, count: int) -> list[Clean]:
    from packshot.ops.rescue import Clean

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES) if folder.is_dir() else []
    if not files:
        raise NothingToDamage(
            f"{folder} holds no picture ({', '.join(PICTURES)}); name a folder of good ones: packshot drill damage DIR"
        )
    step = max(1, len(files) // count)
    return [Clean(f"{place:03d}", folder.name, path.resolve()) for place, path in enumerate(files[::step][:count])]
