"""From a name to a bundle on disk: an alias, a version number, or the path of a bundle.

What a version is stands in its `register` entry of the ledger: its digests and what it was made from. MLflow keeps the
files; they are brought into PACKSHOT_HOME once, a folder for each digest, and used only where they have the digest that
the entry names. The champion is the ledger's, so that a home which holds its files scores without MLflow's package.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation.digest import bundle_digest
from packshot.files import OutputNotWritable
from packshot.home import Home
from packshot.progress import say
from packshot.registry.alias_check import CHAMPION, promoted
from packshot.registry.events import Registered
from packshot.registry.ledger import Ledger
from packshot.registry.lineage import Lineage
from packshot.relocation import settle
from packshot.starter import ARCHIVE, starter_bundle

BUNDLE_FILE = "bundle.json"
FOLDS_FILE = "folds.parquet"
STARTER = "starter"
DIGEST_TAG = "packshot.bundle_sha256"
DOWNLOAD_RECORD = "registered_model_meta"
"""What MLflow adds to the files of a version that it brings; it is no part of the model."""
_VERSION = re.compile(r"v?(\d+)")


class NoSuchModel(PackshotError):
    """There is no such alias, version or bundle, or the ledger knows nothing of it."""

    exit_code = 66


class ArtefactsDamaged(PackshotError):
    """The files of a registered version are missing or are not those that were registered."""

    exit_code = 65


@dataclass(frozen=True)
class Entry:
    """A version by its `register` entry. Digests are sha256 in 64 hex digits.

    `model_sha256` covers all files of the logged model, its code included; None: it was registered by a Packshot that
    wrote down the bundle alone.
    """

    lineage: Lineage
    bundle_sha256: str
    model_sha256: str | None

    @property
    def version(self) -> int:
        """Its number."""
        assert self.lineage.model_version is not None, "a register entry is of a version"
        return self.lineage.model_version

    @property
    def named(self) -> str:
        """The version in words."""
        return f"version {self.version} of {self.lineage.model_name}"


def bundle_path(settings: Settings, ref: str) -> tuple[Path, Lineage]:
    """The folder of the bundle that `ref` names, and who it is.

    `ref`: `champion` (which the ledger names), another alias, a version number (`3` or `v3`), `starter`, which comes
    with the package, or the path of a bundle.
    Registered bundles are kept under PACKSHOT_HOME and compared with the digest in the ledger each time.
    Raises NoSuchModel, ArtefactsDamaged, AliasMovedByHand, AliasUnknown, TrackingUnreachable, StarterDamaged.
    """
    folder = Path(ref)
    if (folder / BUNDLE_FILE).is_file():
        return folder, Lineage(folder.resolve().name)
    if ref == STARTER:
        return starter_bundle(), Lineage(STARTER)
    if folder.is_dir() or os.sep in ref:
        raise NoSuchModel(f"{ref} holds no {BUNDLE_FILE}; name a bundle folder, an alias or a version number")
    entry = recorded(settings, resolve(settings, ref))
    return _bundle(settings, entry), entry.lineage


def judging_bundle(settings: Settings, ref: str) -> tuple[Path, Lineage]:
    """As `bundle_path`; but `champion` is the starter, and that is said, where the ledger names none: never because a
    registry cannot be reached. Raises what `bundle_path` raises."""
    if ref == CHAMPION:
        settle()
        if ARCHIVE.is_file() and promoted(settings, Ledger.from_environment()) is None:
            say("no champion was promoted yet: the starter model of the package judges (--model names another)")
            ref = STARTER
    return bundle_path(settings, ref)


def is_starter(digest: str) -> bool:
    """Whether a bundle's digest, or at least 16 hex digits of it, is that of the starter. Raises StarterDamaged."""
    return len(digest) >= 16 and ARCHIVE.is_file() and bundle_digest(starter_bundle()).startswith(digest)


def model_path(settings: Settings, version: int) -> Path:
    """The folder of a version's logged model, every file of it compared with the ledger: what may be run.

    Raises NoSuchModel, ArtefactsDamaged, TrackingUnreachable.
    """
    entry = recorded(settings, version)
    if entry.model_sha256 is None:
        raise ArtefactsDamaged(
            f"the ledger knows the bundle of {entry.named} and not its code: an older Packshot registered it, and what "
            "is not on record is not run. `packshot register` in its workspace writes that down"
        )
    target = _place(entry)
    if not (target.is_dir() and bundle_digest(target) == entry.model_sha256):
        _fetch(settings, entry)
    return target


def recorded(settings: Settings, version: int, ledger: Ledger | None = None) -> Entry:
    """What the ledger says a version is. Raises NoSuchModel where no `register` entry does."""
    name = settings.registry.model_name
    found = (ledger or Ledger.from_environment()).state(name).registered.get(version)
    if found is None:
        raise NoSuchModel(
            f"model {name!r} has no version {version} in the ledger; `packshot registry history` lists what was "
            "registered. A version that only MLflow knows was not made by `packshot register`, and is not used"
        )
    return _entry(found)


def resolve(settings: Settings, ref: str) -> int:
    """The version number behind an alias or a number in text.

    Raises NoSuchModel, AliasMovedByHand, AliasUnknown, TrackingUnreachable.
    """
    number = _VERSION.fullmatch(ref)
    if number:
        return int(number.group(1))
    settle()
    if ref == CHAMPION:
        found = promoted(settings, Ledger.from_environment())
        if found is None:
            raise NoSuchModel(_how_to_get(settings, ref))
        return found
    return int(model_version(settings, ref).version)


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
    raise NoSuchModel(_how_to_get(settings, ref))


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


def logged_digests(settings: Settings, version: int) -> tuple[str, str]:
    """The digests of a version's bundle and of its whole logged model, as MLflow keeps them now.

    Raises ArtefactsDamaged, NoSuchModel, TrackingUnreachable.
    """
    with tempfile.TemporaryDirectory(prefix="packshot-logged-") as scratch:
        model = _downloaded(settings, version, Path(scratch))
        return bundle_digest(_bundle_in(model, f"version {version}")), bundle_digest(model)


def _entry(found: Registered) -> Entry:
    lineage = Lineage(
        model_name=found.model_name or "",
        model_version=found.to_version,
        run_id=found.run_id,
        data_rev=found.data_rev,
        code_rev=found.code_rev,
        params_hash=found.params_hash,
    )
    return Entry(lineage, found.payload.bundle_sha256 or "", found.payload.model_sha256)


def _place(entry: Entry) -> Path:
    """Where its files are kept: the whole logged model, or the bundle alone where only that is on record."""
    models = Home.from_environment().models
    return models / (entry.model_sha256[:32] if entry.model_sha256 else f"bundle-{entry.bundle_sha256[:32]}")


def _bundle(settings: Settings, entry: Entry) -> Path:
    target = _place(entry)
    bundle = _kept_bundle(entry, target)
    if bundle is None:
        _fetch(settings, entry)
        bundle = _kept_bundle(entry, target)
    if bundle is None:
        raise ArtefactsDamaged(f"{target} was changed while it was read; run this again")
    return bundle


def _kept_bundle(entry: Entry, target: Path) -> Path | None:
    """The bundle among the kept files, None where it is not there as it was registered."""
    if not target.is_dir():
        return None
    try:
        bundle = _bundle_in(target, entry.named) if entry.model_sha256 else target
    except ArtefactsDamaged:
        return None
    return bundle if bundle.is_dir() and bundle_digest(bundle) == entry.bundle_sha256 else None


def _fetch(settings: Settings, entry: Entry) -> None:
    """Bring the files of a version to where they are kept. Raises ArtefactsDamaged where they are others."""
    say(f"fetching {entry.named}")
    target = _place(entry)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
            model = _downloaded(settings, entry.version, Path(scratch))
            if entry.model_sha256 is not None:
                _put(model, target, entry.model_sha256, f"the logged model of {entry.named}")
            else:
                _put(_bundle_in(model, entry.named), target, entry.bundle_sha256, f"the bundle of {entry.named}")
    except OSError as error:
        raise OutputNotWritable(target, error) from error


def _downloaded(settings: Settings, version: int, scratch: Path) -> Path:
    """The logged model of a version as MLflow has it, in a folder below `scratch`."""
    import mlflow
    from mlflow.exceptions import MlflowException

    from packshot.registry.tracking import client, reaching, tracking_uri

    name = settings.registry.model_name
    address = f"models:/{name}/{version}"
    client(settings)
    try:
        with reaching(tracking_uri(settings)):
            model = Path(mlflow.artifacts.download_artifacts(address, dst_path=str(scratch)))
    except (MlflowException, OSError) as error:
        raise ArtefactsDamaged(
            f"the artefacts of version {version} of {name} cannot be read ({type(error).__name__}: {error}). "
            "Put them back from a backup, or return to another version with `packshot registry rollback`"
        ) from error
    (model / DOWNLOAD_RECORD).unlink(missing_ok=True)
    return model


def _bundle_in(model: Path, named: str) -> Path:
    try:
        flavour = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
        bundle = (model / str(flavour["artifacts"]["bundle"]["path"])).resolve()
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ArtefactsDamaged(
            f"the artefacts of {named} cannot be read ({type(error).__name__}: {error}). "
            "Put them back from a backup, or return to another version with `packshot registry rollback`"
        ) from error
    if not bundle.is_relative_to(model.resolve()):
        raise ArtefactsDamaged(f"{named} names a bundle outside its own files: {bundle}")
    return bundle


def _put(fetched: Path, target: Path, expected: str, what: str) -> None:
    actual = bundle_digest(fetched) if fetched.is_dir() else "nothing"
    if actual != expected:
        raise ArtefactsDamaged(
            f"{what} has checksum {actual[:16]}, registered was {expected[:16]}; it was changed after registration. "
            "Train and register again, or roll back"
        )
    if target.exists():
        shutil.rmtree(target)
    try:
        fetched.replace(target)
    except OSError:
        # Another process put the same files there first.
        if not (target.is_dir() and bundle_digest(target) == expected):
            raise


def _how_to_get(settings: Settings, ref: str) -> str:
    name = settings.registry.model_name
    if _VERSION.fullmatch(ref):
        return f"model {name!r} has no version {ref}; `packshot registry history` lists what was registered"
    if ref == CHAMPION:
        return (
            f"model {name!r} has no champion yet: `make demo` trains and promotes one (`packshot promote`, where a "
            "challenger waits), or name a model of yours with --model FOLDER"
        )
    if ref == "challenger":
        return f"model {name!r} has no challenger; `packshot register` makes one"
    return f"{ref!r} is neither a bundle folder, nor a version number, nor an alias of model {name!r}"
