"""What the desk's pages show beside pictures: batches with their drift, versions of the model, and the newest data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from packshot.catalog.source_record import QUARANTINE, VALIDATION
from packshot.config import Settings
from packshot.drift.summary import in_short
from packshot.errors import PackshotError
from packshot.home import Home
from packshot.registry.addresses import is_web, version_page
from packshot.registry.approval import answered, passed_gates
from packshot.registry.events import Approval, DriftChecked, Gated, Registered, Scored
from packshot.registry.ledger import Ledger
from packshot.registry.state import Reign, State
from packshot.service.grid import Shelf
from packshot.service.verdict_rows import Item
from packshot.serving.batches import REASONS, drift_bars, read_record
from packshot.serving.figures import GateRow, gate_rows
from packshot.workspace import CATALOG

ROWS = 100
"""Rows of a page of the quarantine."""
LISTED = 12
"""Reasons, and pictures of a drift, that a batch's page shows."""
MOST_VERSIONS = 30
RESULT = "drift.json"


class NoSuchBatch(PackshotError):
    """There is no batch of that name on the desk."""

    exit_code = 66


class QuarantineUnreadable(PackshotError):
    """The quarantine of the newest data cannot be read."""

    exit_code = 65


@dataclass(frozen=True)
class Link:
    """An address of Airflow or MLflow."""

    text: str
    address: str


@dataclass(frozen=True)
class Drift:
    """What a check found; `p_value` None: not tested."""

    alarm: bool
    reason: str
    p_value: float | None
    what: str
    """What differs most, in a few words."""
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """One scored batch. `rows` are those of its file, of which `given_way` are copies and not on the desk."""

    name: str
    model: str
    rows: int
    given_way: int
    decisions: dict[str, int]
    quality: float | None
    scored: str
    drift: Drift | None
    links: list[Link]


@dataclass(frozen=True)
class BatchDetails:
    """More of one batch: its commonest reasons, and pictures typical for what drifted."""

    batch: Batch
    reasons: list[tuple[str, str, int]]
    bars: Markup | None
    examples: list[Item]


@dataclass(frozen=True)
class Version:
    """One version of the model by the ledger. `waits`: for somebody's approval."""

    number: int
    registered: Registered | None
    gated: Gated | None
    gates: list[GateRow]
    answers: Sequence[Approval]
    reigns: Sequence[Reign]
    outcome: str | None
    waits: bool
    links: list[Link]


@dataclass(frozen=True)
class Model:
    """The model's versions, newest first, and who reigned, newest first."""

    name: str
    champion: int | None
    reigns: list[Reign]
    versions: list[Version]
    left_out: int


@dataclass(frozen=True)
class Data:
    """The newest data: what validation found, and a page of what it put in quarantine. `summary` None: no data yet."""

    summary: Mapping[str, Any] | None
    reasons: list[tuple[str, int]]
    rows: list[dict[str, Any]]
    total: int
    page: int
    pages: int


def batches(settings: Settings, shelf: Shelf, ledger: Ledger) -> list[Batch]:
    """All batches of the desk, those scored last first. Raises LedgerError."""
    links = _batch_links(settings, ledger)
    found = [_batch(shelf, name, links.get(name, [])) for name in shelf.texts["batch"].names]
    return sorted(found, key=lambda batch: (batch.scored, batch.name), reverse=True)


def batch_details(settings: Settings, shelf: Shelf, ledger: Ledger, name: str) -> BatchDetails:
    """One batch. Raises NoSuchBatch, LedgerError."""
    if name not in shelf.texts["batch"].numbers:
        raise NoSuchBatch("there is no batch of that name on the desk; it may have been scored anew")
    batch = _batch(shelf, name, _batch_links(settings, ledger).get(name, []))
    places = _places(shelf, name)
    counts = Counter(code for place in places for code in shelf.codes[place])
    reasons = [(code, REASONS.get(code, code.replace("_", " ")), count) for code, count in counts.most_common(LISTED)]
    record = batch.drift.record if batch.drift else {}
    typical = set(map(str, record.get("examples") or ()))
    examples = [item for item in (shelf.items[place] for place in places) if item.path in typical][:LISTED]
    return BatchDetails(batch, reasons, drift_bars(record), examples)


def model(settings: Settings, ledger: Ledger) -> Model:
    """The model by the ledger. Raises LedgerError."""
    name = settings.registry.model_name
    state = ledger.state(name)
    numbers = sorted({*state.registered, *state.gates, *(reign.version for reign in state.reigns if reign.version)})
    shown = [_version(settings, state, number) for number in numbers[-MOST_VERSIONS:]]
    return Model(name, state.champion, state.reigns[::-1], shown[::-1], max(0, len(numbers) - MOST_VERSIONS))


def data(reason: str, page: int) -> Data:
    """The newest data; of the quarantine the rows with a reason, all where it is empty. Raises QuarantineUnreadable."""
    root = Home.from_environment().workspaces / CATALOG
    summary = read_record(root / VALIDATION)
    if not (root / QUARANTINE).is_file():
        return Data(summary, [], [], 0, 1, 1)
    try:
        table = pq.read_table(root / QUARANTINE)
        counts = Counter(table["reason"].to_pylist())
        chosen = table.filter(pc.equal(table["reason"], reason)) if reason else table
    except (OSError, ValueError, KeyError) as error:
        raise QuarantineUnreadable(f"the quarantine cannot be read: {error}") from error
    pages = max(1, -(-len(chosen) // ROWS))
    page = min(page, pages)
    reasons = sorted(((str(name), count) for name, count in counts.items()), key=lambda pair: (-pair[1], pair[0]))
    return Data(summary, reasons, chosen.slice(ROWS * (page - 1), ROWS).to_pylist(), len(chosen), page, pages)


def _batch(shelf: Shelf, name: str, links: list[Link]) -> Batch:
    places = _places(shelf, name)
    file = shelf.items[places[0]].file
    decided = shelf.texts["decision"]
    counts = np.bincount(decided.rows[places], minlength=len(decided.names))
    quality = shelf.quality[places]
    known = quality[~np.isnan(quality)]
    return Batch(
        name=name,
        model=file.model,
        rows=file.rows,
        given_way=file.rows - len(places),
        decisions={each: int(count) for each, count in zip(decided.names, counts, strict=True) if count},
        quality=float(known.mean()) if len(known) else None,
        scored=str(np.datetime64(int(shelf.scored[places].max()), "us"))[:16].replace("T", " "),
        drift=_drift(read_record(file.folder / RESULT)),
        links=links,
    )


def _places(shelf: Shelf, name: str) -> Any:
    texts = shelf.texts["batch"]
    return np.flatnonzero(texts.rows == texts.numbers[name])


def _drift(record: Mapping[str, Any] | None) -> Drift | None:
    if record is None:
        return None
    p_value = record.get("p_value")
    drifted = [row for row in record.get("drifted") or () if {"name", "effect", "kind"} <= set(row)]
    return Drift(bool(record.get("alarm")), str(record.get("reason", "")), p_value, in_short(drifted), record)


def _version(settings: Settings, state: State, number: int) -> Version:
    gated, registered = state.gates.get(number), state.registered.get(number)
    passed = passed_gates(state, number) is not None and number != state.champion
    return Version(
        number=number,
        registered=registered,
        gated=gated,
        gates=gate_rows(gated.payload.gates) if gated else [],
        answers=state.approvals.get(number, ()),
        reigns=state.reigns_of(number)[::-1],
        outcome=state.outcomes.get(number),
        waits=settings.registry.approval and passed and not answered(state, number),
        links=list(_version_links(settings, number, registered, gated)),
    )


def _version_links(
    settings: Settings, number: int, registered: Registered | None, gated: Gated | None
) -> Iterator[Link]:
    page = version_page(settings, number)
    if page is not None:
        yield Link("MLflow", page)
    for text, event in (("Airflow: registered", registered), ("Airflow: gates", gated)):
        if event is not None and is_web(event.payload.airflow):
            yield Link(text, str(event.payload.airflow))


def _batch_links(settings: Settings, ledger: Ledger) -> dict[str, list[Link]]:
    """Of each batch the newest Airflow task that scored it and that checked it."""
    found: dict[str, dict[str, Link]] = {}
    name = settings.registry.model_name
    for event in (*ledger.events(name, "score"), *ledger.events(name, "drift")):
        if isinstance(event, Scored | DriftChecked) and event.payload.batch:
            links = found.setdefault(event.payload.batch, {})
            text = "Airflow: scored" if isinstance(event, Scored) else "Airflow: drift"
            if is_web(event.payload.airflow):
                links[text] = Link(text, str(event.payload.airflow))
            page = None if event.to_version is None else version_page(settings, event.to_version)
            if page is not None:
                links["MLflow"] = Link("MLflow", page)
    return {batch: list(links.values()) for batch, links in found.items()}
