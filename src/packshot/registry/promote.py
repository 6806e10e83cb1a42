"""The challenger before the gates, and the alias after them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packshot.bundle import BundleError
from packshot.catalog.source_record import read_source
from packshot.config import Profile, Settings
from packshot.cost import as_record, metered
from packshot.errors import PackshotError
from packshot.evaluation.heldout import HeldOut, labelled_rows, score_heldout_once
from packshot.files import write_json, write_text
from packshot.progress import say
from packshot.registry.alias import CHALLENGER, ChampionChanged, champion, exclusive, heal, move, remove_alias
from packshot.registry.alias_check import alias_version
from packshot.registry.approval import answered, check_approved, passed_gates
from packshot.registry.decline import best_so_far, question_number
from packshot.registry.events import Event, Intent
from packshot.registry.gates import Best, Evidence, GateResult, Outcome, Use, check_settings, judge, outcome, table
from packshot.registry.ledger import Ledger
from packshot.registry.models import ArtefactsDamaged, Entry, NoSuchModel, bundle_path, recorded, resolve
from packshot.registry.run_page import note_gates
from packshot.registry.serving_check import ModelDoesNotServe, measure, signature_kept
from packshot.registry.shadow import evidence as shadow_evidence
from packshot.registry.shadow import follow
from packshot.registry.shop_scales import left_behind
from packshot.registry.tracking import MlflowRecorder, client, reaching, tracking_uri
from packshot.revision import data_rev

FOLDS = "_folds"


class WrongData(PackshotError):
    """The workspace does not hold the data of the challenger."""

    exit_code = 65


class ChampionUnusable(PackshotError):
    """The champion cannot be scored, so nothing can be compared with it."""

    exit_code = 65


@dataclass(frozen=True)
class PromotionResult:
    """What the gates said and what came of it. `heldout_use`: how often this held-out revision has decided by now."""

    outcome: Outcome
    gates: tuple[GateResult, ...]
    model_name: str
    challenger: int
    champion: int | None
    data_rev: str | None
    heldout_use: int
    reason: str

    def table(self) -> str:
        """The gates as a Markdown table, with one line of outcome above."""
        against = f"champion {self.champion}" if self.champion is not None else "no champion"
        head = f"{self.model_name}: challenger {self.challenger} against {against}: {self.outcome.replace('_', ' ')}"
        said = f"{head}. {self.reason}" if self.reason else head
        return f"{said}\n\n{table(self.gates)}" if self.gates else said

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        own = ("outcome", "model_name", "challenger", "champion", "data_rev", "heldout_use", "reason")
        return {name: getattr(self, name) for name in own} | {"gates": [gate.as_record() for gate in self.gates]}


def promote(
    settings: Settings, *, challenger: int | None = None, champion: int | None = None, workspace: Path
) -> PromotionResult:
    """Judge the challenger by the gates, write down what they said, and make it champion where all pass.

    `challenger`: a version number; None takes the one under the alias now. `champion`: the version that the caller
    believes is champion; another one is an error, nothing is compared. `workspace` holds the challenger's data
    revision, whose test rows both versions are scored on.
    With `registry.approval` a version that passed waits for a person: NotApproved says so, and the call after an
    approval moves the alias by the gates that were approved, without asking them again.
    Raises WrongData, ChampionChanged, AliasMovedByHand, RegistryBusy, GateSettingsError, NoSuchModel, NotApproved,
    ArtefactsDamaged, ChampionUnusable, TrackingUnreachable; after any of them nothing has moved, and the same call can
    be made again.
    """
    ledger = Ledger.from_environment()
    with exclusive():
        number = challenger if challenger is not None else resolve(settings, CHALLENGER)
        finished = heal(settings, ledger)
        if finished is not None and not finished.entry.rollback and finished.version == number:
            return _finished(settings, ledger, finished.entry)
        result = _answered_for(settings, ledger, number) or _assess(settings, ledger, number, champion, workspace)
        if result.outcome == "promoted":
            move(
                settings,
                ledger,
                from_version=result.champion,
                to_version=number,
                rollback=False,
                payload={"gates": [gate.as_record() for gate in result.gates]},
            )
            say(f"champion of {result.model_name}: version {number}, was {result.champion}")
            if left := left_behind(ledger.state(result.model_name), result.champion, number):
                say(left)
        elif result.outcome != "nothing_to_do":
            _record(ledger, settings, "refused", result, {"outcome": result.outcome, "reason": result.reason})
        _stop_challenging(settings, result)
        return result


def _answered_for(settings: Settings, ledger: Ledger, number: int) -> PromotionResult | None:
    """The gates that passed and that a person has answered about, or is asked about: they are not asked again."""
    state = ledger.state(settings.registry.model_name)
    gate = passed_gates(state, number)
    if gate is None or not (settings.registry.approval or answered(state, number)):
        return None
    check_approved(settings, state, number)
    found = _by_entry(settings, ledger, gate, gate.payload.gates, "approved by a person")
    return replace(found, champion=champion(settings, ledger))


def assess(
    settings: Settings, *, challenger: int | None = None, champion: int | None = None, workspace: Path
) -> PromotionResult:
    """What `promote` would decide, without a new champion: for a question to a person before it does.

    The gates' verdict goes to the ledger and to MLflow as in `promote`; it raises the same errors.
    """
    ledger = Ledger.from_environment()
    with exclusive():
        number = challenger if challenger is not None else resolve(settings, CHALLENGER)
        heal(settings, ledger)
        result = _assess(settings, ledger, number, champion, workspace)
        _stop_challenging(settings, result)
        return result


def _stop_challenging(settings: Settings, result: PromotionResult) -> None:
    """A version that is refused is no challenger any more; one that lacks evidence stays, since it may be asked again.

    After the entry in the ledger: a kill in between leaves the alias, and the next refusal takes it.
    """
    if result.outcome == "refused" and alias_version(settings, CHALLENGER) == result.challenger:
        remove_alias(settings, CHALLENGER)
        say(f"version {result.challenger} of {result.model_name} is refused and no longer {CHALLENGER}")


def _assess(settings: Settings, ledger: Ledger, number: int, believed: int | None, workspace: Path) -> PromotionResult:
    name = settings.registry.model_name
    now = champion(settings, ledger)
    if believed is not None and believed != now:
        raise ChampionChanged(
            f"asked to compare challenger {number} with champion {believed}, but the champion of {name} is {now}; "
            "run it again without naming a champion, or with this one"
        )
    blank = PromotionResult("nothing_to_do", (), name, number, now, None, 0, "")
    if number == now:
        return replace(blank, reason=f"version {number} is the champion already")
    entry, state = recorded(settings, number, ledger), ledger.state(name)
    taken_back = number if number in state.rolled_back else state.rolled_back_bundles.get(entry.bundle_sha256)
    if taken_back is not None:
        return replace(blank, outcome="refused", reason=_was_rolled_back(number, taken_back))
    source = read_source(workspace)
    gates = check_settings(settings, source.profile)
    profile = {str(key): one for key, one in settings.profiles.items()}[source.profile]
    revision = _right_data(entry, workspace)
    use = Use(question_number(ledger, revision, (name, number, now)), settings.registry.spending)
    shadow = shadow_evidence(settings, gates, number, now)
    with metered() as meter:
        serving, broken = _serving(settings, number, now)
        results: Sequence[GateResult] = judge(
            shadow.gates,
            _evidence(settings, entry, workspace, {**serving, **shadow.metrics}),
            _champions_evidence(settings, recorded(settings, now, ledger), workspace) if now is not None else None,
            versions=(number, now),
            heldout=_expected(profile, workspace),
            settings=settings.evaluation,
            use=use,
            best=_best_so_far(settings, ledger, [gate.metric for gate in shadow.gates], workspace),
        )
    results = [*results, *shadow.answered, *broken]
    decided = replace(blank, outcome=outcome(results), gates=tuple(results), data_rev=revision)
    _record(ledger, settings, "heldout_use", decided, {})
    decided = replace(decided, heldout_use=ledger.heldout_uses(revision), reason=_because(results))
    cost = as_record(meter.so_far(), settings.cost)
    _record(ledger, settings, "gate", decided, decided.as_record() | {"cost": cost})
    follow(settings, ledger, number, now, results)
    _log(settings, decided)
    return decided


def _right_data(entry: Entry, workspace: Path) -> str:
    expected, found = entry.lineage.data_rev, data_rev(workspace)
    if expected != found:
        raise WrongData(
            f"version {entry.version} was trained on data revision {expected}, {workspace} holds {found}; "
            "gates need the held-out rows of the challenger's own revision: name its workspace"
        )
    return found


def _expected(profile: Profile, workspace: Path) -> frozenset[tuple[str, str]]:
    rows = labelled_rows(profile, workspace, "test")
    return frozenset(zip(rows["source"].astype(str), rows["path"].astype(str), strict=True))


def _evidence(settings: Settings, entry: Entry, workspace: Path, measured: Mapping[str, float]) -> Evidence:
    folder, _ = bundle_path(settings, str(entry.version))
    ref = entry.lineage
    say(f"scoring version {entry.version} on the held-out pictures")
    scored: HeldOut = score_heldout_once(folder, settings, workspace)
    known = float(None not in (ref.data_rev, ref.code_rev, ref.params_hash))
    metrics = {**_folds(settings, ref.run_id), **scored.metrics, **measured, "lineage/known": known}
    return Evidence(entry.version, metrics, scored.per_image, scored.per_pair, scored.per_single)


def _champions_evidence(settings: Settings, entry: Entry, workspace: Path) -> Evidence:
    with _comparable(entry.version):
        return _evidence(settings, entry, workspace, {})


def _best_so_far(settings: Settings, ledger: Ledger, metrics: Sequence[str], workspace: Path) -> dict[str, Best]:
    """By figure the best champion so far, scored on the same rows, where it is not the champion of now."""
    name = settings.registry.model_name
    events, state = ledger.events(name), ledger.state(name)
    found = {metric: best for metric in metrics if (best := best_so_far(events, state, metric)) is not None}
    evidence = {version: _earlier_evidence(settings, version, workspace) for version, _ in found.values()}
    return {metric: Best(version, behind, evidence[version]) for metric, (version, behind) in found.items()}


def _earlier_evidence(settings: Settings, version: int, workspace: Path) -> Evidence | None:
    try:
        return _evidence(settings, recorded(settings, version), workspace, {})
    except (BundleError, ArtefactsDamaged, NoSuchModel) as error:
        say(
            f"version {version}, the best champion so far, cannot be scored any more; the ledger stands for it: {error}"
        )
        return None


@contextmanager
def _comparable(champion: int) -> Iterator[None]:
    """What is wrong with the champion's files is no fault of the challenger."""
    try:
        yield
    except (BundleError, ArtefactsDamaged) as error:
        raise ChampionUnusable(
            f"champion {champion} cannot be scored, so the challenger cannot be compared with it: {error}\n"
            "Return to an earlier champion with `packshot registry rollback`; or, to begin anew on floors alone, "
            "delete the alias `champion` in MLflow, accept that with `packshot registry adopt`, and promote again"
        ) from error


def _serving(settings: Settings, number: int, now: int | None) -> tuple[dict[str, float], list[GateResult]]:
    """What the logged model takes and gives, and its speed and memory in a clean process, or the failed gate that says
    it does not work there."""
    say(f"loading version {number} in a clean process")
    try:
        measured = measure(settings, number)
    except ModelDoesNotServe as error:
        return {}, [GateResult("serving/loads", "loads", "fail", str(error))]
    with _comparable(now) if now is not None else nullcontext():
        return measured | {"serving/signature_kept": signature_kept(settings, number, now)}, []


def _folds(settings: Settings, run_id: str | None) -> dict[str, float]:
    """Cross-validated figures are of the recipe, not of the weights: they are taken from the version's own run."""
    if run_id is None:
        return {}
    with reaching(tracking_uri(settings)):
        recorded = client(settings).get_run(run_id).data.metrics
    return {name: float(value) for name, value in recorded.items() if FOLDS in name}


def _because(results: Sequence[GateResult]) -> str:
    against = [r.message for r in results if r.verdict == "fail"]
    against = against or [r.message for r in results if r.verdict == "not_enough_evidence"]
    return "; ".join(against)


def _was_rolled_back(number: int, taken_back: int) -> str:
    same = "" if number == taken_back else f" is the bundle of version {taken_back}, which"
    return (
        f"version {number}{same} was champion and was rolled back; it does not come back through the gates. "
        f"`packshot registry rollback --to {taken_back}` makes it champion again on purpose"
    )


def _record(ledger: Ledger, settings: Settings, kind: str, result: PromotionResult, payload: dict[str, Any]) -> None:
    entry = recorded(settings, result.challenger, ledger).lineage.entry()
    ledger.record(kind, from_version=result.champion, **entry, payload=payload)


def _log(settings: Settings, result: PromotionResult) -> None:
    """The outcome on the pages of version and run; the table, as JSON, Markdown and a picture, beside its artefacts."""
    from packshot.registry.gate_plot import plot_gates

    run_id = recorded(settings, result.challenger).lineage.run_id
    told = (result.outcome, result.gates, table(result.gates))
    note_gates(settings, result.challenger, run_id, result.champion, *told)
    if run_id is None:
        return
    recorder = MlflowRecorder(client(settings), run_id, tracking_uri(settings))
    against = f"champion-{result.champion}" if result.champion is not None else "no-champion"
    title = f"Challenger {result.challenger} against {against.replace('-', ' ')}: {result.outcome.replace('_', ' ')}"
    with tempfile.TemporaryDirectory(prefix="packshot-gates-") as scratch:
        folder = Path(scratch)
        write_json(folder / "gates.json", result.as_record())
        write_text(folder / "gates.md", result.table() + "\n")
        plot_gates(result.gates, title, folder / "gates.png")
        recorder.artifact(folder, f"gates/{against}")


def _finished(settings: Settings, ledger: Ledger, entry: Intent) -> PromotionResult:
    """The result of a promotion that a kill interrupted and this call completed, from its own ledger entry."""
    return _by_entry(settings, ledger, entry, entry.payload.gates, "an interrupted promotion was finished")


def _by_entry(
    settings: Settings, ledger: Ledger, entry: Event, gates: Sequence[Mapping[str, Any]], reason: str
) -> PromotionResult:
    assert entry.to_version is not None, "it is about a version"
    return PromotionResult(
        "promoted",
        tuple(GateResult(**gate) for gate in gates),
        settings.registry.model_name,
        entry.to_version,
        entry.from_version,
        entry.data_rev,
        ledger.heldout_uses(entry.data_rev) if entry.data_rev else 0,
        reason,
    )
