"""From a name to a bundle on disk: an alias, a version number, or the path of a bundle."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation.digest import bundle_digest
from packshot.files import OutputNotWritable
from packshot.home import Home
from packshot.progress import say
from packshot.registry.lineage import Lineage

BUNDLE_FILE = "bundle.json"
FOLDS_FILE = "folds.parquet"
DIGEST_TAG = "packshot.bundle_sha256"
_VERSION = re.compile(r"v?(\d+)")


class NoSuchModel(PackshotError):
    """There is no such alias, version or bundle."""

    exit_code = 66


class ArtefactsDamaged(PackshotError):
    """The files of a registered version are missing or are not those that were registered."""

    exit_code = 65


def bundle_path(settings: Settings, ref: str) -> tuple[Path, Lineage]:
    """The folder of the bundle that `ref` names, and who it is.

    `ref`: an alias (`champion`), a version number (`3` or `v3`), or the path of a bundle. Registered bundles are
    kept under PACKSHOT_HOME after the first download and checked against the registered checksum each time.
    Raises NoSuchModel, ArtefactsDamaged, TrackingUnreachable.
    """
    folder = Path(ref)
    if (folder / BUNDLE_FILE).is_file():
        return folder, Lineage(folder.resolve().name)
    if folder.is_dir() or os.sep in ref:
        raise NoSuchModel(f"{ref} holds no {BUNDLE_FILE}; name a bundle folder, an alias or a version number")
    found = model_version(settings, ref)
    return _download(settings, found), reference(found)


def resolve(settings: Settings, ref: str) -> int:
    """The version number behind an alias or a number in text. Raises NoSuchModel, TrackingUnreachable."""
    return int(model_version(settings, ref).version)


def alias_version(settings: Settings, alias: str) -> int | None:
    """The version number under an alias, None where the alias or the model does not exist yet."""
    from mlflow.exceptions import MlflowException

    from packshot.registry.tracking import client, reaching, tracking_uri

    mlflow_client = client(settings)
    try:
        with reaching(tracking_uri(settings)):
            return int(mlflow_client.get_model_version_by_alias(settings.registry.model_name, alias).version)
    except MlflowException as error:
        if _absent(error):
            return None
        raise


def model_version(settings: Settings, ref: str) -> Any:
    """MLflow's entry of a registered version, by alias or number. Raises NoSuchModel, TrackingUnreachable."""
    from mlflow.exceptions import MlflowException

    from packshot.registry.tracking import client, reaching, tracking_uri

    name = settings.registry.model_name
    mlflow_client = client(settings)
    number = _VERSION.fullmatch(ref)
    try:
        with reaching(tracking_uri(settings)):
            if number:
                return mlflow_client.get_model_version(name, number.group(1))
            return mlflow_client.get_model_version_by_alias(name, ref)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    raise NoSuchModel(_how_to_get(settings, ref, bool(number)))


def reference(found: Any) -> Lineage:
    """The lineage by MLflow's entry of a version."""
    tags = found.tags
    return Lineage(
        model_name=found.name,
        model_version=int(found.version),
        run_id=found.run_id,
        data_rev=tags.get("packshot.data_rev"),
        code_rev=tags.get("packshot.code_rev"),
        params_hash=tags.get("packshot.params_hash"),
    )


def _download(settings: Settings, found: Any) -> Path:
    expected = found.tags.get(DIGEST_TAG)
    if not expected:
        raise ArtefactsDamaged(
            f"version {found.version} of {found.name} carries no tag {DIGEST_TAG}: it was not registered by "
            "`packshot register`; register it with that command"
        )
    target = Home.from_environment().root / "models" / f"v{found.version}-{expected[:16]}"
    if target.is_dir() and bundle_digest(target) == expected:
        return target
    say(f"fetching version {found.version} of {found.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
            _put(_fetched(settings, found, Path(scratch)), target, expected, found)
    except OSError as error:
        raise OutputNotWritable(target, error) from error
    return target


def _fetched(settings: Settings, found: Any, scratch: Path) -> Path:
    import mlflow
    import yaml
    from mlflow.exceptions import MlflowException

    from packshot.registry.tracking import reaching, tracking_uri

    try:
        with reaching(tracking_uri(settings)):
            model = Path(
                mlflow.artifacts.download_artifacts(f"models:/{found.name}/{found.version}", dst_path=str(scratch))
            )
        flavour = yaml.safe_load((model / "MLmodel").read_text())["flavors"]["python_function"]
        return model / str(flavour["artifacts"]["bundle"]["path"])
    except (MlflowException, OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ArtefactsDamaged(
            f"the artefacts of version {found.version} of {found.name} cannot be read "
            f"({type(error).__name__}: {error}); they were at {found.source}. "
            "Put them back from a backup, or return to another version with `packshot registry rollback`"
        ) from error


def _put(bundle: Path, target: Path, expected: str, found: Any) -> None:
    actual = bundle_digest(bundle) if bundle.is_dir() else "nothing"
    if actual != expected:
        raise ArtefactsDamaged(
            f"the bundle of version {found.version} of {found.name} has checksum {actual[:16]}, registered was "
            f"{expected[:16]}; it was changed after registration. Train and register again, or roll back"
        )
    if target.exists():
        shutil.rmtree(target)
    try:
        bundle.replace(target)
    except OSError:
        # Another process put the same bundle there first.
        if not (target.is_dir() and bundle_digest(target) == expected):
            raise


def _absent(error: Exception) -> bool:
    code = getattr(error, "error_code", "")
    return code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") and "not found" in str(error).lower()


def _how_to_get(settings: Settings, ref: str, is_number: bool) -> str:
    name = settings.registry.model_name
    if is_number:
        return f"model {name!r} has no version {ref}; `packshot registry history` lists what was registered"
    made_by = {"challenger": "packshot register", "champion": "packshot promote"}.get(ref)
    if made_by is None:
        return f"{ref!r} is neither a bundle folder, nor a version number, nor an alias of model {name!r}"
    return f"model {name!r} has no {ref} yet; `{made_by}` makes one"
