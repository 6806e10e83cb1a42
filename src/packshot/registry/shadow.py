"""A challenger in shadow: it scores the batches that the champion scores, and nothing is decided by what it says.

The ledger says which version is in shadow; what it said lies under `Home.shadow`, where nobody looks for verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from packshot.config import Gate, Settings
from packshot.errors import PackshotError
from packshot.evaluation.agreement import COLUMNS, Agreement, Side, agreement
from packshot.evaluation.metrics import MetricError
from packshot.evaluation.shop_scale import JUDGED, as_judged
from packshot.files import write_json
from packshot.home import Home
from packshot.progress import say
from packshot.registry.alias import champion, exclusive
from packshot.registry.gates import SHADOW, GateResult
from packshot.registry.ledger import Ledger
from packshot.registry.models import recorded

BATCHES, FIGURES = f"{SHADOW}batches", ("srcc", "same_decision", "errors")
VERDICTS, FAILED = "verdicts.parquet", "failed.json"


class CannotShadow(PackshotError):
    """This version cannot score beside a champion."""

    exit_code = 2


class NothingInShadow(PackshotError):
    """No batch was scored by this version and the champion."""

    exit_code = 66


@dataclass(frozen=True)
class ShadowEvidence:
    """What the shadow has to say to the gates: those to judge with these figures, and those that it answers itself."""

    gates: tuple[Gate, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    answered: tuple[GateResult, ...] = ()


def begin(settings: Settings, version: int) -> None:
    """Put a version in shadow by hand, in place of the one that is.

    Raises CannotShadow, NoSuchModel, AliasMovedByHand.
    """
    ledger = Ledger.from_environment()
    with exclusive():
        now = champion(settings, ledger)
        if settings.registry.shadow_batches == 0:
            raise CannotShadow("registry.shadow_batches is 0; say there how many batches a version scores in shadow")
        if now is None or now == version or version in ledger.state(settings.registry.model_name).rolled_back:
            why = "there is no champion yet" if now is None else f"version {version} is the champion or was rolled back"
            raise CannotShadow(f"version {version} cannot score beside a champion: {why}")
        _begin(settings, ledger, version, now)


def end(settings: Settings) -> int | None:
    """Take the version out of the shadow by hand and return it; None where there is none."""
    ledger = Ledger.from_environment()
    with exclusive():
        found = ledger.state(settings.registry.model_name).shadow
        if found is not None:
            _write(settings, ledger, found.version, None, "ended", "taken out by hand")
        return found.version if found is not None else None


def seen(version: int, beside: int) -> list[str]:
    """The batches that `version` has scored in shadow, or failed on, and the version `beside` has scored."""
    home = Home.from_environment()
    folders = [path.parent for path in home.shadow.glob(f"batches/*/v{version}/*") if path.name in (VERDICTS, FAILED)]
    names = sorted({folder.parent.name for folder in folders})
    return [name for name in names if (home.verdicts_by(name, beside) / VERDICTS).is_file()]


def missing(settings: Settings, version: int, beside: int) -> int:
    """How many batches the shadow has still to see."""
    return max(settings.registry.shadow_batches - len(seen(version, beside)), 0)


def complete(settings: Settings, ledger: Ledger, beside: int) -> bool:
    """Write down that the version in shadow has seen all its batches; False where it has not, or that is written.

    Beside another champion it is written again: what it saw beside the one before is no comparison with this one.
    """
    found = ledger.state(settings.registry.model_name).shadow
    if found is None or found.complete_beside == beside or missing(settings, found.version, beside):
        return False
    note = f"has scored {len(seen(found.version, beside))} batches beside champion {beside}"
    _write(settings, ledger, found.version, beside, "complete", note)
    return True


def evidence(settings: Settings, gates: Sequence[Gate], version: int, beside: int | None) -> ShadowEvidence:
    """Ask the shadow what it can say to these gates, and to the one that `registry.shadow_batches` stands for.

    Without a champion the gates on it do not apply; while batches are missing they say how many.
    """
    wanted = settings.registry.shadow_batches
    if wanted and not any(gate.metric == BATCHES for gate in gates):
        gates = [*gates, Gate(metric=BATCHES, kind="floor", value=wanted)]
    asking = [gate for gate in gates if gate.metric.startswith(SHADOW)]
    if not asking:
        return ShadowEvidence(tuple(gates))
    others = tuple(gate for gate in gates if gate not in asking)
    if beside is None:
        said = "there is no champion yet to score beside"
        return ShadowEvidence(
            others, answered=tuple(GateResult(g.metric, g.kind, "not_applicable", said) for g in asking)
        )
    there, left = len(seen(version, beside)), missing(settings, version, beside)
    if left:
        said = f"version {version} has scored {there} of {wanted} batches in shadow; {left} missing"
        waiting = [GateResult(g.metric, g.kind, "not_enough_evidence", said, threshold=g.value) for g in asking]
        return ShadowEvidence(others, answered=tuple(waiting))
    return ShadowEvidence(tuple(gates), _metrics(settings, version, beside))


def follow(settings: Settings, ledger: Ledger, version: int, beside: int | None, results: Sequence[GateResult]) -> None:
    """Let a version that lacks nothing but its batches into the shadow, and one that the gates stop out of it.

    Call inside `exclusive()`.
    """
    stopped = [r for r in results if r.verdict in ("fail", "not_enough_evidence")]
    waits_only = bool(stopped) and all(r.metric.startswith(SHADOW) and r.verdict != "fail" for r in stopped)
    now = ledger.state(settings.registry.model_name).shadow
    here = now is not None and now.version == version
    if waits_only and not here and beside is not None:
        _begin(settings, ledger, version, beside)
    elif stopped and not waits_only and here:
        _write(settings, ledger, version, beside, "ended", f"stopped by {', '.join(r.metric for r in stopped)}")


def compare(settings: Settings, version: int, beside: int) -> Agreement:
    """How far the version in shadow agrees with the champion on the batches that both scored.

    Raises NothingInShadow.
    """
    home, rules = Home.from_environment(), settings.evaluation
    sides = [
        Side(name, _verdicts(home.shadow_by(name, version)), _verdicts(home.verdicts_by(name, beside)))
        for name in seen(version, beside)
    ]
    try:
        return agreement(sides, resamples=rules.bootstrap, confidence=rules.confidence)
    except MetricError as error:
        raise NothingInShadow(f"version {version} beside champion {beside}: {error}") from error


def report(settings: Settings, version: int | None = None) -> dict[str, Any]:
    """Compare, write the figures as JSON and as a picture under `Home.shadow`, and return them with where they are.

    `version`: default is the one in shadow. Raises NothingInShadow, AliasMovedByHand.
    """
    from packshot.registry.shadow_plot import plot_agreement

    ledger = Ledger.from_environment()
    now = ledger.state(settings.registry.model_name).shadow
    number = version if version is not None else now.version if now else None
    beside = champion(settings, ledger)
    if number is None or beside is None:
        raise NothingInShadow(
            "no version is in shadow; `packshot promote` or `packshot registry shadow --begin` does that"
        )
    record: dict[str, Any] = {"version": number, "champion": beside, "batches": seen(number, beside)}
    record |= {"missing": missing(settings, number, beside), "in_shadow": now is not None and now.version == number}
    if record["batches"]:
        found = compare(settings, number, beside)
        target = Home.from_environment().shadow / f"v{number}-beside-v{beside}.json"
        picture = target.with_suffix(".png")
        record |= found.as_record() | {"plot": str(picture)}
        write_json(target, record)
        title = f"Version {number} in shadow beside champion {beside}: {len(record['batches'])} batches"
        plot_agreement(found, title, picture)
    return record


def table(record: Mapping[str, Any]) -> str:
    """What `report` found, in lines for people."""
    lines = [
        f"version {record['version']} beside champion {record['champion']}: {len(record['batches'])} batches, "
        f"{record['missing']} missing"
    ]
    for name, one in record.get("figures", {}).items():
        spread = "undefined" if one["value"] is None else f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
        lines.append(f"{name:16} {spread}")
    for theirs, ours in record.get("confusion", {}).items():
        lines.append(f"champion {theirs:7} -> " + ", ".join(f"{name} {count}" for name, count in ours.items()))
    if record.get("time_ratio") is not None:
        lines.append(f"time for an image: {record['time_ratio']:.2f} times the champion's")
    return "\n".join(lines)


def _begin(settings: Settings, ledger: Ledger, version: int, beside: int) -> None:
    note = f"scores {settings.registry.shadow_batches} batches beside champion {beside}"
    _write(settings, ledger, version, beside, "begun", note)


def _write(settings: Settings, ledger: Ledger, version: int, beside: int | None, state: str, note: str) -> None:
    ledger.record(
        "shadow",
        from_version=beside,
        **recorded(settings, version, ledger).lineage.entry(),
        payload={"state": state, "note": f"{state}: {note}"},
    )
    say(f"version {version} in shadow: {note}")


def _metrics(settings: Settings, version: int, beside: int) -> dict[str, float]:
    """The figures that gates may ask for; none where the champion could judge no image, so that no gate passes."""
    try:
        figures = compare(settings, version, beside).figures
    except NothingInShadow as error:
        say(f"the shadow says nothing: {error}")
        return {}
    known = {f"{SHADOW}{name}": figures[name].value for name in FIGURES}
    return {BATCHES: float(len(seen(version, beside)))} | {k: v for k, v in known.items() if v is not None}


def _verdicts(folder: Path) -> pd.DataFrame:
    file = folder / VERDICTS
    if not file.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    kept = [name for name in JUDGED.values() if name in pq.read_schema(file).names]
    return as_judged(pd.read_parquet(file, columns=[*COLUMNS, *kept]))[list(COLUMNS)]
