"""What runs have cost: on the MLflow run of a training, and in sums over the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from packshot.config import CostSettings, Settings
from packshot.cost import Meter, Usage, price
from packshot.progress import say
from packshot.registry.events import Event, Registered
from packshot.registry.ledger import Ledger
from packshot.registry.tracking import (
    MlflowRecorder,
    TrackingUnreachable,
    client,
    reaching,
    runs_of,
    tracking_uri,
)
from packshot.revision import run_key

TRAINING = "cost"
EVALUATION = "cost/evaluation"
By = Literal["month", "version"]


class CostedRecorder:
    """A recorder that writes beside each epoch what the run has cost so far, all its starts together."""

    def __init__(self, recorder: MlflowRecorder, meter: Meter, rates: CostSettings, prefix: str = TRAINING) -> None:
        self._recorder, self._meter, self._rates, self._prefix = recorder, meter, rates, prefix
        names = {each.name: f"{prefix}/{each.name}" for each in fields(Usage)}
        self._before = Usage(**{name: recorder.latest.get(metric, 0.0) for name, metric in names.items()})
        self._paid = recorder.latest.get(f"{prefix}/price", 0.0)
        self._step = recorder.last_step(f"{prefix}/wall_s") + 1

    def params(self, values: Mapping[str, Any]) -> None:
        """Hand on the settings."""
        self._recorder.params(values)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Hand on the figures, and write the cost so far: what a kill after this loses is less than an epoch."""
        self._recorder.metrics(values, step)
        self.keep()

    def artifact(self, path: Path, folder: str) -> None:
        """Hand on the file."""
        self._recorder.artifact(path, folder)

    def keep(self) -> None:
        """Write the cost so far. Raises TrackingUnreachable."""
        used = self._meter.so_far()
        figures = asdict(self._before + used) | {"price": self._paid + price(used, self._rates)}
        self._recorder.metrics({f"{self._prefix}/{name}": value for name, value in figures.items()}, self._step)
        self._step += 1


@contextmanager
def costed(recorder: MlflowRecorder, meter: Meter, rates: CostSettings) -> Iterator[CostedRecorder]:
    """`recorder`, with the cost of the block added to what earlier starts of its run have cost."""
    told = CostedRecorder(recorder, meter, rates)
    try:
        yield told
    finally:
        _keep_if_possible(told)


def record_evaluation(settings: Settings, workspace: Path, meter: Meter) -> None:
    """Add what an evaluation has cost to the MLflow run of its training, where that was recorded."""
    try:
        mlflow_client, uri = client(settings), tracking_uri(settings)
        with reaching(uri):
            runs = runs_of(settings, mlflow_client, run_key(settings, workspace))
            if runs:
                recorder = MlflowRecorder(mlflow_client, str(runs[0].info.run_id), uri)
                CostedRecorder(recorder, meter, settings.cost, EVALUATION).keep()
    except TrackingUnreachable as error:
        say(f"the cost of this evaluation is not in MLflow: {error}")


def _keep_if_possible(told: CostedRecorder) -> None:
    try:
        told.keep()
    except TrackingUnreachable as error:
        say(f"the cost of this run is not in MLflow: {error}")


@dataclass(frozen=True)
class Total:
    """The cost of all runs of one kind in one month (`2026-11`), or for one version (empty: for none)."""

    group: str
    kind: str
    runs: int
    usage: Usage
    price: float
    currency: str

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        own = {"group": self.group, "kind": self.kind, "runs": self.runs, "currency": self.currency}
        return own | {name: round(value, 3) for name, value in asdict(self.usage).items()} | {"price": self.price}


def totals(ledger: Ledger, by: By) -> list[Total]:
    """Sums over all entries that carry a cost, at the rates of their time; memory is the largest of any run.

    By version, a retraining counts for the first version that was registered of it: a drill registers a second.
    """
    entries = ledger.events()
    versions = {_key(entry): entry.to_version for entry in reversed(entries) if isinstance(entry, Registered)}
    found: dict[tuple[str, str, str], Total] = {}
    for entry in entries:
        cost = entry.payload.cost
        if cost is None:
            continue
        version = entry.to_version or versions.get(_key(entry))
        group = entry.at[:7] if by == "month" else str(version or "")
        place = (group, entry.kind, cost["currency"])
        before = found.get(place, Total(group, entry.kind, 0, Usage(), 0.0, cost["currency"]))
        usage = before.usage + Usage(**{each.name: cost[each.name] for each in fields(Usage)})
        found[place] = Total(
            group, entry.kind, before.runs + 1, usage, round(before.price + cost["price"], 6), cost["currency"]
        )
    return sorted(found.values(), key=lambda total: (total.group.zfill(9), total.kind, total.currency))


def table(found: Sequence[Total], by: By) -> str:
    """The sums in columns, with a line for all of each currency at the end."""
    head = (by, "kind", "runs", "wall h", "CPU h", "GPU h", "peak GB", "price", "")
    rows = [head, *(_cells(total) for total in found), *(_cells(total) for total in _overall(found))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    lines = []
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join([*words, *figures]).rstrip())
    return "\n".join(lines)


def _overall(found: Sequence[Total]) -> list[Total]:
    overall = []
    for currency in sorted({total.currency for total in found}):
        parts = [total for total in found if total.currency == currency]
        usage = sum((total.usage for total in parts), Usage())
        paid = sum(total.price for total in parts)
        overall.append(Total("all", "", sum(total.runs for total in parts), usage, paid, currency))
    return overall


def _cells(total: Total) -> tuple[str, ...]:
    usage = total.usage
    hours = (f"{seconds / 3600:.2f}" for seconds in (usage.wall_s, usage.cpu_s, usage.gpu_s))
    group = total.group or "none"
    memory = f"{usage.peak_mb / 1000:.1f}"
    return (group, total.kind, str(total.runs), *hours, memory, f"{total.price:.2f}", total.currency)


def _key(entry: Event) -> tuple[str | None, ...]:
    return entry.data_rev, entry.code_rev, entry.params_hash
