"""A shop's own scale on record: a file named by its content, and entries of the ledger that say what decides.

The bundle of a version stays as it was registered. A scale belongs to the bundle of one digest; a new champion starts
without one. A file that is not what the ledger entered scores nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from packshot.errors import PackshotError
from packshot.evaluation.shop_scale import ShopMap
from packshot.files import write_bytes
from packshot.home import Home
from packshot.registry.events import ShopScaled
from packshot.registry.ledger import Ledger
from packshot.registry.state import State

FORMAT_VERSION = 1
SHOWN = 16
"""Hex digits of a scale's digest that name it."""


class ScaleDamaged(PackshotError):
    """The file of the scale in force is missing, or is not the one that the ledger entered."""

    exit_code = 65


class ScaleOutdated(PackshotError):
    """The scale in force was fitted for another bound between fit and unfit pictures."""

    exit_code = 65


class NoScale(PackshotError):
    """No scale of this bundle is in force."""

    exit_code = 66


class ScaleRecord(BaseModel):
    """The file of a scale."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: int
    bundle_sha256: str
    """Of the model whose scores it maps."""
    labels_sha256: str
    """Of the labels that it was fitted to."""
    labels: int = Field(gt=0)
    good_from: float
    """`scoring.costs.good_from` of the fit: what accept and reject were taken to say."""
    coverage: float
    fitted_at: str
    fitted_by: str
    centre: float
    height: float
    slope: float = Field(ge=0)
    size: float = Field(gt=0)
    half_width: float = Field(gt=0)
    accepted_faults: tuple[str, ...]
    """Faults that are the shop's style."""

    def line(self) -> ShopMap:
        """The map."""
        return ShopMap(self.centre, self.height, self.slope, self.size, self.half_width)

    def content(self) -> bytes:
        """The bytes of its file."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @property
    def sha256(self) -> str:
        """Of its file."""
        return hashlib.sha256(self.content()).hexdigest()


@dataclass(frozen=True)
class ShopScale:
    """The scale in force: its name, which stands in every row it made, and what it does."""

    id: str
    line: ShopMap
    labels: int
    accepted_faults: tuple[str, ...] = ()


def in_force(bundle_sha256: str, model_name: str, good_from: float, ledger: Ledger) -> ShopScale | None:
    """The scale that the ledger says is in force for a bundle; None where there is none.

    Raises ScaleDamaged, ScaleOutdated where it was fitted for another `good_from`.
    """
    entry = ledger.state(model_name).scales.get(bundle_sha256)
    if entry is None:
        return None
    record = _read(_file(entry.payload.scale_sha256), entry)
    if record.good_from != good_from:
        raise ScaleOutdated(
            f"the shop's scale {_id(record.sha256)} was fitted for scoring.costs.good_from {record.good_from:g}, and "
            f"it is {good_from:g} now; `packshot calibrate-shop --apply` fits it again, --withdraw does without"
        )
    return ShopScale(_id(record.sha256), record.line(), record.labels, record.accepted_faults)


def left_behind(state: State, former: int | None, now: int) -> str | None:
    """What to do where the champion before had a shop's scale and the new one has none; None elsewhere."""
    before, after = (state.registered.get(version) for version in (former or 0, now))
    had = before is not None and (before.payload.bundle_sha256 or "") in state.scales
    has = after is not None and (after.payload.bundle_sha256 or "") in state.scales
    if has or not had:
        return None
    return (
        f"the shop's scale of version {former} was fitted to its errors and is not that of version {now}, which judges "
        "without; `packshot calibrate-shop --apply` fits it again from the labels that are kept"
    )


def labels_in_force(bundle_sha256: str, model_name: str, ledger: Ledger) -> str | None:
    """The digest of the labels that the scale in force was fitted to."""
    entry = ledger.state(model_name).scales.get(bundle_sha256)
    return entry.payload.labels_sha256 if entry else None


def put_in_force(record: ScaleRecord, figures: dict[str, Any], model_name: str, version: int, ledger: Ledger) -> str:
    """Keep the file, then enter it: from here on it decides. Returns its id."""
    write_bytes(_file(record.sha256), record.content())
    _enter(ledger, "in_force", record, figures, model_name, version, f"scale {_id(record.sha256)} decides")
    return _id(record.sha256)


def refuse(
    record: ScaleRecord, figures: dict[str, Any], reasons: list[str], model_name: str, version: int, ledger: Ledger
) -> None:
    """Enter that a scale does not decide, and why, unless the newest entry of the bundle says the same."""
    said = [each for each in ledger.events(model_name, "shop_scale") if isinstance(each, ShopScaled)]
    last = said[-1].payload if said else None
    if last is None or (last.state, last.labels_sha256) != ("refused", record.labels_sha256):
        _enter(ledger, "refused", record, figures, model_name, version, "; ".join(reasons))


def withdraw(bundle_sha256: str, model_name: str, ledger: Ledger) -> str:
    """Take the scale of a bundle out of force; its file stays. Returns its id. Raises NoScale."""
    entry = ledger.state(model_name).scales.get(bundle_sha256)
    if entry is None:
        raise NoScale("no shop's scale is in force for the champion; there is nothing to withdraw")

    def still_there(state: State) -> None:
        if state.scales.get(bundle_sha256) != entry:
            raise NoScale("somebody else changed the shop's scale meanwhile; look again")

    name = _id(entry.payload.scale_sha256)
    told = entry.payload.model_dump(exclude={"airflow", "cost"}, exclude_none=True)
    told |= {"state": "withdrawn", "note": f"scale {name} is withdrawn"}
    ledger.record("shop_scale", model_name=model_name, to_version=entry.to_version, payload=told, only_if=still_there)
    return name


def _enter(
    ledger: Ledger,
    state: str,
    record: ScaleRecord,
    figures: dict[str, Any],
    model_name: str,
    version: int,
    note: str,
) -> None:
    payload = {
        "state": state,
        "scale_sha256": record.sha256,
        "bundle_sha256": record.bundle_sha256,
        "labels_sha256": record.labels_sha256,
        "labels": record.labels,
        "figures": figures,
        "note": note,
    }
    ledger.record("shop_scale", model_name=model_name, to_version=version, payload=payload)


def _id(sha256: str) -> str:
    return sha256[:SHOWN]


def _file(sha256: str) -> Path:
    return Home.from_environment().scales / f"{_id(sha256)}.json"


def _read(path: Path, entry: ShopScaled) -> ScaleRecord:
    help_ = "put it back from a backup, or `packshot calibrate-shop --withdraw` or --apply"
    try:
        content = path.read_bytes()
        found = ScaleRecord.model_validate_json(content)
    except OSError as error:
        raise ScaleDamaged(f"the shop's scale in force, {path}, cannot be read ({error.strerror}); {help_}") from error
    except ValidationError as error:
        raise ScaleDamaged(f"the shop's scale in force, {path}, is damaged; {help_}: {error}") from error
    whole = hashlib.sha256(content).hexdigest() == entry.payload.scale_sha256
    if not whole or found.bundle_sha256 != entry.payload.bundle_sha256 or found.format_version != FORMAT_VERSION:
        raise ScaleDamaged(f"the shop's scale in force, {path}, is not the one that the ledger entered; {help_}")
    return found
