"""One verdict followed back: the pixels, what was found, the model and its gates, the data and code it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from packshot.bundle import read_record
from packshot.catalog.image import BadImage, resolve_inside
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation.digest import bundle_digest
from packshot.exports.pictures import digest_of
from packshot.exports.source import VERDICTS, VerdictFile
from packshot.home import Home
from packshot.registry.events import AnyEvent
from packshot.registry.ledger import Ledger
from packshot.registry.lineage import LINEAGE
from packshot.registry.story import Entered, Story, entered, story_of
from packshot.revision import RunKey, code_rev
from packshot.scoring.contract import Verdict
from packshot.scoring.shards import read_manifest
from packshot.scoring.verdicts import SCORES, SHARD_SCHEMA, STATISTICS
from packshot.workspace import CATALOG, WorkspaceMissing, commit_of_data, commit_of_model

PICTURE = ("batch_id", "path", "image_id", "format", "width", "height", "sku", "title", "sender", "category")
FOUND = ("profile", "findings", "measures", "perceptual_hash", "duplicate_of", "same_as", "displaces")


class RowUnknown(PackshotError):
    """No verdict, or more than one, is about the picture asked for."""

    exit_code = 66


@dataclass
class Chain:
    """What was looked for on the way back: links that hold or do not, and what is not on record."""

    checks: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def check(self, what: str, holds: bool, otherwise: str) -> None:
        """Note whether one link of the chain holds, and what it means where it does not."""
        self.checks.append({"what": what, "holds": holds, "detail": None if holds else otherwise})


def why(
    settings: Settings,
    files: Sequence[VerdictFile],
    path: str,
    *,
    images: Path | None = None,
    bundle: Path | None = None,
) -> dict[str, Any]:
    """Everything on record behind the verdict on `path` (or `BATCH/path`), as plain data.

    `images`: where the judged pictures are now; `bundle`: the model, where it was never registered. What cannot be
    found is named in `missing`, a link that does not hold in `checks`. Raises RowUnknown, VerdictsUnreadable.
    """
    file, row = find_row(files, path)
    chain = Chain()
    lineage = {name: row[name] for name in LINEAGE}
    model = lineage | _model(settings, file, lineage, bundle, chain)
    made_from = lineage | _made_from(model)
    return {
        "picture": {name: row[name] for name in PICTURE} | {"file": _on_disk(file, row, images, chain)},
        "measured": {name: _number(row[name]) for name in (*SCORES, *STATISTICS)},
        "style": {"style": row["style"], "confidence": _number(row["style_confidence"])},
        "found": {name: row[name] for name in FOUND} | {"measures": dict(row["measures"] or ())},
        "enhanced": _enhanced(file, row, chain),
        "decision": {"decision": row["decision"], "reasons": row["reasons"], "error": row["error"]},
        "verdict": Verdict.from_row(row).model_dump(mode="json"),
        "scored_at": row["scored_at"].isoformat(),
        "verdicts": str((file.folder / VERDICTS).resolve()),
        "model": model,
        "data": _data(made_from, chain),
        "code": _code(made_from, chain),
        "checks": chain.checks,
        "missing": chain.missing,
    }


def find_row(files: Sequence[VerdictFile], path: str) -> tuple[VerdictFile, dict[str, Any]]:
    """The one verdict on a picture, without its vectors. Raises RowUnknown."""
    found = [(file, row) for file in files for row in _rows(file, path)]
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(f"{file.batch_id}/{row['path']}" for file, row in found)
        raise RowUnknown(f"{len(found)} verdicts are on {path}: {named}; name one of these, or one --verdicts")
    alike = [row["path"] for file in files for row in _alike(file, path)]
    hint = f"; there is {', '.join(alike[:5])}" if alike else ""
    raise RowUnknown(f"no verdict is on {path!r}{hint}. Name the `path` as it stands in {files[0].folder / VERDICTS}")


def _rows(file: VerdictFile, path: str) -> list[dict[str, Any]]:
    own = {path, path.removeprefix(f"{file.batch_id}/")}
    dataset = ds.dataset(file.folder / VERDICTS, format="parquet")
    vectors = ("style_vector", "embedding")
    wanted = [name for name in (*SHARD_SCHEMA.names, "batch_id", *LINEAGE) if name not in vectors]
    there = [name for name in wanted if name in dataset.schema.names]
    rows = dataset.to_table(columns=there, filter=ds.field("path").isin(sorted(own))).to_pylist()
    return [dict.fromkeys(wanted) | row for row in rows]


def _alike(file: VerdictFile, path: str) -> list[dict[str, Any]]:
    name = path.rsplit("/", 1)[-1]
    dataset = ds.dataset(file.folder / VERDICTS, format="parquet")
    return list(dataset.to_table(columns=["path"], filter=pc.ends_with(ds.field("path"), name)).to_pylist())


def _on_disk(file: VerdictFile, row: dict[str, Any], images: Path | None, chain: Chain) -> str | None:
    """Where the picture is, after comparing it with the one that was judged."""
    if row["image_id"] is None:
        chain.missing.append("the file could not be read when it was judged, so there is no checksum to compare with")
        return None
    root = file.images(images)
    try:
        if root is None:
            raise BadImage("missing_file", "the folder that was scored is gone; name it with --images")
        location = resolve_inside(root, row["path"])
        if not location.is_file():
            raise BadImage("missing_file", f"there is no such file below {root} any more")
        same = digest_of(location) == row["image_id"]
    except (BadImage, OSError) as error:
        chain.missing.append(f"the picture: {getattr(error, 'detail', error)}")
        return None
    chain.check("the file on disk is the picture that was judged (sha256)", same, f"{location} has changed since")
    return str(location)


def _enhanced(file: VerdictFile, row: dict[str, Any], chain: Chain) -> dict[str, Any] | None:
    if row["quality_after"] is None and row["enhanced_path"] is None:
        return None
    target = file.folder / row["enhanced_path"] if row["enhanced_path"] else None
    if target is not None and not target.is_file():
        chain.missing.append(f"the enhanced picture {target}")
    before, after = _number(row["quality"]), _number(row["quality_after"])
    gain = after - before if before is not None and after is not None else None
    return {"quality_after": after, "gain": gain, "kept": target is not None, "file": str(target) if target else None}


def _model(
    settings: Settings, file: VerdictFile, lineage: dict[str, Any], bundle: Path | None, chain: Chain
) -> dict[str, Any]:
    digest = read_manifest(file.folder).get("model_digest")
    if digest is None:
        chain.missing.append("the checksum of the model, which is kept beside the verdicts in .shards/manifest.json")
    named = {"digest": digest, "bundle": _bundle(bundle, digest, chain) if bundle is not None else None}
    version = lineage["model_version"]
    if version is None:
        chain.missing.append(
            "the model was never registered: no gates, approval or MLflow run are on record"
            + ("" if bundle is not None else "; name its bundle with --model to see what that says of itself")
        )
        return named
    told = story_of(Ledger.from_environment(), lineage["model_name"], version)
    return named | _told(told, version, chain) | {"mlflow": _mlflow(settings, version, lineage, digest, chain)}


def _bundle(folder: Path, digest: str | None, chain: Chain) -> dict[str, Any]:
    record = read_record(folder)
    judged = bundle_digest(folder) == digest
    chain.check("the bundle named is the model that judged", judged, f"{folder} is another")
    kept = {"packshot_version", "profile", "recipe", "epochs", "best_epoch", "run_key", "metrics", "adaptation"}
    return record.model_dump(mode="json", include=kept) | {"judged": judged}


def _made_from(model: dict[str, Any]) -> dict[str, str]:
    """The revisions that the bundle of a model that was never registered names itself."""
    bundle = model["bundle"]
    return dict(bundle["run_key"]) if model["model_version"] is None and bundle and bundle["judged"] else {}


def _told(told: Story, version: int, chain: Chain) -> dict[str, Any]:
    for part, what in (
        (told.registered, f"the registration of version {version}"),
        (told.gates, f"a decision of the gates on version {version}"),
        (told.answers, f"a person's answer on version {version} (registry.approval may be off)"),
        (told.reigns, f"version {version} becoming champion"),
    ):
        if not part:
            chain.missing.append(f"{what}: the ledger has no entry")
    return {
        "registered": _entry(told.registered),
        "gates": _entry(told.gates),
        "answers": [_entry(answer) for answer in told.answers],
        "champion": [{"by": reign.by, "since": reign.since, "until": reign.until} for reign in told.reigns],
    }


def _entry(entry: AnyEvent | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    said = entry.payload.model_dump(mode="json", exclude_unset=True)
    return {"id": entry.id, "at": entry.at, "actor": entry.actor, "payload": said}


def _mlflow(
    settings: Settings, version: int, lineage: dict[str, Any], digest: str | None, chain: Chain
) -> dict[str, Any] | None:
    from mlflow.exceptions import MlflowException

    try:
        found = entered(settings, version)
    except (PackshotError, MlflowException) as error:
        chain.missing.append(f"version {version} in MLflow: {error}")
        return None
    _compare(found, lineage, digest, chain)
    return {"run_id": found.reference.run_id, "status": found.run_status, "metrics": dict(found.metrics)}


def _compare(found: Entered, lineage: dict[str, Any], digest: str | None, chain: Chain) -> None:
    made_from = ("run_id", "data_rev", "code_rev", "params_hash")
    other = [name for name in made_from if getattr(found.reference, name) != lineage[name]]
    same = "run, data, code and parameters of the verdict are those of the registered version"
    chain.check(same, not other, f"{', '.join(other)} differ; is PACKSHOT_HOME the one it was scored in?")
    if digest is not None:
        chain.check(
            "the model that judged is the registered one (sha256)",
            found.digest == digest,
            f"registered is {found.digest}, the verdicts are by {digest}",
        )


def _data(lineage: dict[str, Any], chain: Chain) -> dict[str, Any]:
    revision = lineage["data_rev"]
    if revision is None:
        return {"data_rev": None, "commit": None, "commands": []}
    home = Home.from_environment()
    try:
        commit = commit_of_data(home, revision)
    except WorkspaceMissing as error:
        chain.missing.append(f"the training data: {error}")
        return {"data_rev": revision, "commit": None, "commands": []}
    return {"data_rev": revision, "commit": commit, "commands": _commands(home, commit, f"data-{revision[:12]}")}


def _code(lineage: dict[str, Any], chain: Chain) -> dict[str, Any]:
    if None in (lineage["data_rev"], lineage["code_rev"], lineage["params_hash"]):
        return {"code_rev": lineage["code_rev"], "here": code_rev(), "commit": None}
    home = Home.from_environment()
    key = RunKey(lineage["data_rev"], lineage["code_rev"], lineage["params_hash"]).short
    commit = commit_of_model(home, key)
    if commit is None:
        chain.missing.append(f"the code it was trained with: the catalogue's history has no tag model-{key}")
    return {
        "code_rev": lineage["code_rev"],
        "here": code_rev(),
        "tag": f"model-{key}",
        "commit": commit,
        "commands": _commands(home, commit, f"model-{key}") if commit else [],
    }


def _commands(home: Home, commit: str, folder: str) -> list[str]:
    catalog = home.workspaces / CATALOG
    return [
        f"git clone {catalog} {folder}",
        f"cd {folder} && git checkout {commit[:12]}",
        "dvc pull collect validate split",
    ]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
