"""Promotion gates as data: what a challenger must reach, and by how much it may fall behind the champion.

Pure: no MLflow, no files. The evidence comes in as frames and figures, results go out as data. Whatever is missing,
NaN, misnamed or from other rows fails the gate and says so; nothing unknown ever passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pandas as pd

from packshot.config import EvaluationSettings, Gate, Profile, Settings
from packshot.errors import PackshotError
from packshot.evaluation.metrics import MetricError
from packshot.evaluation.resampling import Interval, paired_bootstrap
from packshot.evaluation.slices import IMAGE_KEY, Slice, is_paired, is_written, slice_of

Verdict = Literal["pass", "fail", "not_enough_evidence", "not_applicable"]
Outcome = Literal["promoted", "refused", "not_enough_evidence", "nothing_to_do"]
BOOTSTRAP_SEED = 20
PAIRED_KINDS = ("non_inferiority", "superiority")
NO_DECLINE = "no_decline"
"""Kind of the results that ask, beside non-inferiority to the champion, for that to the best champion so far."""
COMPLETE = "complete"
"""Kind of the results that only say whether all held-out rows were scored."""
ROUNDING = 1e-9
"""Differences below this are rounding, not evidence."""
SHADOW = "shadow/"
"""Gates on these figures ask what a version did beside the champion; promotion answers them once it has done so."""


class GateSettingsError(PackshotError):
    """A gate in `params.yaml` can never be judged."""

    exit_code = 2


class EvidenceMismatch(PackshotError):
    """The figures handed to the gates are not those of the versions under test."""


@dataclass(frozen=True)
class Evidence:
    """What one version did on the held-out rows."""

    version: int
    metrics: Mapping[str, float]
    per_image: pd.DataFrame
    per_pair: pd.DataFrame
    per_single: pd.DataFrame

    def slice(self, metric: str) -> Slice:
        """The held-out rows behind a figure. Raises MetricError."""
        return slice_of(metric, self.per_image, self.per_pair, self.per_single)


@dataclass(frozen=True)
class Best:
    """The best champion so far by one figure, where that is not the champion of now.

    `behind`: how far the champion of now falls short of it by the gates that each promotion since has passed, below 0.
    `evidence`: None where it cannot be scored any more.
    """

    version: int
    behind: float
    evidence: Evidence | None


@dataclass(frozen=True)
class Use:
    """Which question these held-out rows answer, 1 the first; `spending` is `registry.spending`."""

    number: int = 1
    spending: float = 1.0

    def confidence(self, nominal: float) -> float:
        """The confidence of this use's intervals, that all uses together may be wrong no more often than 1 - `nominal`.

        Question k may spend k**-s - (k + 1)**-s of that (s: `spending`; the shares of all questions sum to 1), at the
        one end of its interval that lets a challenger pass. With s = 1 the first asks for `nominal` itself.
        """
        share = math.pow(self.number, -self.spending) - math.pow(self.number + 1, -self.spending)
        return 1 - 2 * share * (1 - nominal)

    def said(self, confidence: float) -> str:
        """This use in words; nothing of the first, which is as sure as the settings say."""
        if self.number == 1:
            return ""
        return f"; {_ordinal(self.number)} use of these rows: {_percent(confidence)} confidence"


FIRST_USE = Use()


@dataclass(frozen=True)
class GateResult:
    """One judged gate. `low`, `high`: interval of challenger minus champion at `confidence`; `detectable`: the smallest
    loss that these groups can tell from none."""

    metric: str
    kind: str
    verdict: Verdict
    message: str
    challenger: float | None = None
    champion: float | None = None
    threshold: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    detectable: float | None = None
    groups: int | None = None
    rows: int | None = None

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON; figures that JSON cannot hold (NaN, infinity) become null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def expand(gates: Sequence[Gate], profile: Profile) -> list[Gate]:
    """The gates with `{quality}` and `{style}` replaced by each set of the profile that carries that label.

    Raises GateSettingsError where a gate names a metric that nobody writes, has no threshold, or expands to nothing.
    """
    if not gates:
        raise GateSettingsError("registry.gates is empty: a promotion without gates is not allowed; add at least one")
    expanded = [_with_threshold(one, profile) for gate in gates for one in _filled(gate, profile)]
    sets = frozenset(profile.quality) | frozenset(profile.style)
    for gate in expanded:
        _check(gate, sets)
    return expanded


def check_settings(settings: Settings, profile_name: str) -> list[Gate]:
    """The gates in force under a profile, expanded and checked. Raises GateSettingsError naming the gate."""
    profiles = {str(name): profile for name, profile in settings.profiles.items()}
    if profile_name not in profiles:
        raise GateSettingsError(f"there is no profile {profile_name!r} in params.yaml; it has {sorted(profiles)}")
    try:
        gates = expand(settings.registry.gates, profiles[profile_name])
        _check_confidence(gates, settings)
        _check_shadow(gates, settings.registry.shadow_batches)
        return gates
    except GateSettingsError as error:
        raise GateSettingsError(f"{error} (profile {profile_name!r})") from error


def judge(
    gates: Sequence[Gate],
    challenger: Evidence,
    champion: Evidence | None,
    *,
    versions: tuple[int, int | None],
    heldout: frozenset[tuple[str, str]],
    settings: EvaluationSettings,
    use: Use = FIRST_USE,
    best: Mapping[str, Best] | None = None,
) -> list[GateResult]:
    """Judge every gate.

    `versions`: the numbers of challenger and champion (None: there is no champion yet) that were resolved before any
    figure was read. `heldout`: (source, path) of every held-out row with a label, from the manifest itself. `use`: how
    often these rows were asked before. `best`: by figure the best champion so far, where it is not this champion; a
    challenger may fall behind that one too by no more than the margin.
    Raises EvidenceMismatch where the evidence is of another version than that.
    """
    found = (challenger.version, champion.version if champion is not None else None)
    if found != versions:
        raise EvidenceMismatch(
            f"gates were to compare challenger {versions[0]} with champion {versions[1]}, but the evidence is of "
            f"{found[0]} and {found[1]}; nothing was decided"
        )
    if versions[0] == versions[1]:
        raise EvidenceMismatch(f"challenger and champion are both version {challenger.version}; nothing was decided")
    results = [
        _missing_rows(evidence, heldout, role)
        for evidence, role in ((challenger, "challenger"), (champion, "champion"))
        if evidence is not None
    ]
    for gate in gates:
        results.append(_judge_one(gate, challenger, champion, settings, use))
        if gate.kind == "non_inferiority" and champion is not None and gate.metric in (best or {}):
            results.append(_no_decline(gate, challenger, (best or {})[gate.metric], results[-1], settings, use))
    return results


def outcome(results: Sequence[GateResult]) -> Outcome:
    """Any fail refuses; else any lack of evidence holds back; else the challenger is promoted.

    A list in which no gate of the settings passed (the count of rows is none of them) refuses as well.
    """
    verdicts = {result.verdict for result in results}
    passed = any(result.verdict == "pass" and result.kind != COMPLETE for result in results)
    if "fail" in verdicts or not (passed or "not_enough_evidence" in verdicts):
        return "refused"
    return "not_enough_evidence" if "not_enough_evidence" in verdicts else "promoted"


def table(results: Sequence[GateResult]) -> str:
    """The results as a Markdown table."""
    lines = ["| gate | metric | challenger | champion | must be | verdict |", "|---|---|---|---|---|---|"]
    for r in results:
        cells = (r.kind, f"`{r.metric}`", _shown(r.challenger), _shown(r.champion), _must_be(r), _said(r))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _judge_one(
    gate: Gate, challenger: Evidence, champion: Evidence | None, settings: EvaluationSettings, use: Use
) -> GateResult:
    if gate.kind in PAIRED_KINDS:
        return _comparison(gate, challenger, champion, settings, use)
    return _bound(gate, challenger)


def _bound(gate: Gate, challenger: Evidence) -> GateResult:
    value = challenger.metrics.get(gate.metric)
    limit = gate.value
    if limit is None or not math.isfinite(limit):
        return GateResult(gate.metric, gate.kind, "fail", f"{gate.metric}: there is no usable threshold ({limit})")
    if value is None or not math.isfinite(value):
        said = "is missing" if value is None else f"is {value}"
        message = f"{gate.metric} {said} in the figures of version {challenger.version}; it can not pass"
        return GateResult(gate.metric, gate.kind, "fail", message, threshold=limit)
    good = value >= limit if gate.kind == "floor" else value <= limit
    relation = {("floor", True): "reaches", ("floor", False): "is below"}.get(
        (gate.kind, good), "is within" if good else "is above"
    )
    message = f"{gate.metric} = {value:.4g} {relation} {limit:g}"
    few = _too_few(gate, challenger) if good else None
    verdict: Verdict = "fail" if not good else ("not_enough_evidence" if few else "pass")
    return GateResult(gate.metric, gate.kind, verdict, few or message, challenger=value, threshold=limit)


def _too_few(gate: Gate, challenger: Evidence) -> str | None:
    if gate.min_groups == 0:
        return None
    try:
        groups = len(set(challenger.slice(gate.metric).groups))
    except MetricError as error:
        return f"{gate.metric} needs {gate.min_groups} groups, and they cannot be counted: {error}"
    if groups >= gate.min_groups:
        return None
    return f"{gate.metric} rests on {groups} groups, the gate asks for {gate.min_groups}"


def _comparison(
    gate: Gate,
    challenger: Evidence,
    champion: Evidence | None,
    settings: EvaluationSettings,
    use: Use,
    than: str = "the champion",
) -> GateResult:
    threshold = gate.margin if gate.kind == "superiority" else -gate.margin
    confidence = use.confidence(gate.confidence or settings.confidence)
    if champion is None:
        return GateResult(gate.metric, gate.kind, "not_applicable", "there is no champion yet", threshold=threshold)
    try:
        ours, theirs = (evidence.slice(gate.metric) for evidence in (challenger, champion))
        values = (ours.value, theirs.value)
        interval = _compare(gate.metric, ours, theirs, settings, confidence)
    except MetricError as error:
        said = str(error) if str(error).startswith(gate.metric) else f"{gate.metric}: {error}"
        return GateResult(gate.metric, gate.kind, "fail", said, threshold=threshold)
    weigh = _weigh_gain if gate.kind == "superiority" else _weigh_loss
    verdict, message = weigh(gate, interval, confidence, than)
    return GateResult(
        gate.metric,
        gate.kind,
        verdict,
        message + use.said(confidence),
        *values,
        threshold=threshold,
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        confidence=confidence,
        detectable=_detectable(interval),
        groups=interval.groups,
        rows=interval.rows,
    )


def _no_decline(
    gate: Gate, challenger: Evidence, best: Best, beside: GateResult, settings: EvaluationSettings, use: Use
) -> GateResult:
    """The gate again, against the best champion so far; `beside` is what it said of the champion of now."""
    than = f"version {best.version}, the best champion so far"
    if best.evidence is not None:
        found = _comparison(gate, challenger, best.evidence, settings, use, than)
        return replace(found, kind=NO_DECLINE)
    known = replace(beside, kind=NO_DECLINE, champion=None)
    if beside.difference is None or beside.low is None or beside.high is None:
        return known
    spent = [value + best.behind for value in (beside.difference, beside.low, beside.high)]
    verdict, why = _weigh_spent(gate, spent[2], spent[1])
    message = (
        f"{than}, cannot be scored any more; by the gates passed since, the champion of now is {-best.behind:.4f} "
        f"behind it, and with this step it would be {spent[0]:+.4f} ({spent[1]:+.4f} to {spent[2]:+.4f}): {why}"
    )
    difference, low, high = spent
    message += use.said(beside.confidence or settings.confidence)
    return replace(known, verdict=verdict, message=message, difference=difference, low=low, high=high)


def _weigh_spent(gate: Gate, high: float, low: float) -> tuple[Verdict, str]:
    if high < -gate.margin - ROUNDING:
        return "fail", f"more than the margin of {gate.margin:g} is spent"
    if low >= -gate.margin - ROUNDING:
        return "pass", f"within the margin of {gate.margin:g}"
    return "not_enough_evidence", f"the interval reaches past the margin of {gate.margin:g}"


def _compare(metric: str, ours: Slice, theirs: Slice, settings: EvaluationSettings, confidence: float) -> Interval:
    if ours.keys != theirs.keys or ours.groups != theirs.groups:
        shared = len(set(ours.keys) & set(theirs.keys))
        raise MetricError(
            f"{metric}: the two models were not scored on the same held-out rows "
            f"({len(ours.keys)} against {len(theirs.keys)}, {shared} shared)"
        )
    return paired_bootstrap(
        ours.groups,
        ours.statistic,
        theirs.statistic,
        resamples=settings.bootstrap,
        confidence=confidence,
        seed=BOOTSTRAP_SEED,
    )


def _detectable(interval: Interval) -> float:
    """How far the interval reaches below its estimate: a true loss of less would look like none."""
    return interval.difference - interval.low


def _spread(interval: Interval, confidence: float) -> str:
    span = f"{interval.low:+.4f} to {interval.high:+.4f}"
    return f"difference {interval.difference:+.4f}, {_percent(confidence)} interval {span}"


def _percent(confidence: float) -> str:
    """As many digits as tell it from certainty."""
    digits = max(0, -math.floor(math.log10(100 * (1 - confidence))))
    return f"{100 * confidence:.{digits}f}%"


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _weigh_loss(gate: Gate, interval: Interval, confidence: float, than: str = "the champion") -> tuple[Verdict, str]:
    spread, detectable = _spread(interval, confidence), _detectable(interval)
    if interval.high < -gate.margin - ROUNDING:
        return "fail", f"{spread}: worse than {than} by more than the margin of {gate.margin:g}"
    if interval.groups < gate.min_groups:
        return "not_enough_evidence", f"{spread}; {interval.groups} groups, the gate asks for {gate.min_groups}"
    if interval.low > ROUNDING:
        return "pass", f"{spread}: better than {than}"
    if detectable > gate.margin + ROUNDING:
        return "not_enough_evidence", (
            f"{spread}: underpowered, the smallest loss that {interval.groups} groups can tell is {detectable:.4f} and "
            f"the margin is {gate.margin:g}; hold out more groups or widen the margin"
        )
    if interval.low >= -gate.margin - ROUNDING:
        return "pass", f"{spread}: not worse by more than {gate.margin:g}"
    return "not_enough_evidence", f"{spread}: the interval reaches past the margin of {gate.margin:g}"


def _weigh_gain(gate: Gate, interval: Interval, confidence: float, than: str = "the champion") -> tuple[Verdict, str]:
    spread = _spread(interval, confidence)
    if interval.high <= gate.margin + ROUNDING:
        return "fail", f"{spread}: not better than {than} by more than {gate.margin:g}"
    if interval.groups < gate.min_groups:
        return "not_enough_evidence", f"{spread}; {interval.groups} groups, the gate asks for {gate.min_groups}"
    if interval.low > gate.margin + ROUNDING:
        return "pass", f"{spread}: better by more than {gate.margin:g}"
    return "not_enough_evidence", f"{spread}: the interval does not lie above {gate.margin:g}"


def _missing_rows(evidence: Evidence, heldout: frozenset[tuple[str, str]], role: str) -> GateResult:
    name = f"heldout/rows/{role}"
    scored = set(map(tuple, evidence.per_image[list(IMAGE_KEY)].astype(str).to_numpy()))
    missing, extra = len(heldout - scored), len(scored - heldout)
    complete = bool(heldout) and not missing and not extra
    message = f"version {evidence.version} was scored on {len(scored)} of {len(heldout)} held-out rows"
    if missing or extra:
        message += f": {missing} missing, {extra} that are not held out"
    return GateResult(name, COMPLETE, "pass" if complete else "fail", message, rows=len(scored))


def _filled(gate: Gate, profile: Profile) -> list[Gate]:
    filled = [gate]
    for label, sets in (("{quality}", profile.quality), ("{style}", profile.style)):
        if label in gate.metric:
            filled = [g.model_copy(update={"metric": g.metric.replace(label, one)}) for g in filled for one in sets]
    if not filled:
        raise GateSettingsError(
            f"gate {gate.metric!r} names no set: the profile has none with that label; "
            "name the sets in profiles.*.quality and profiles.*.style, or take the gate out of registry.gates"
        )
    return filled


def _with_threshold(gate: Gate, profile: Profile) -> Gate:
    if gate.kind in PAIRED_KINDS or gate.value is not None:
        return gate
    limits = profile.floors if gate.kind == "floor" else profile.ceilings
    if gate.metric not in limits:
        raise GateSettingsError(
            f"the {gate.kind} gate on {gate.metric!r} has no value; give it one in registry.gates or in "
            f"profiles.*.{gate.kind}s"
        )
    return gate.model_copy(update={"value": limits[gate.metric]})


def _check(gate: Gate, sets: frozenset[str]) -> None:
    if not is_written(gate.metric, sets):
        raise GateSettingsError(
            f"gate {gate.metric!r}: nothing writes a metric of that name for the sets {sorted(sets)}; "
            "correct the name (the names are the keys of reports/evaluation/metrics.json)"
        )
    if gate.kind in PAIRED_KINDS and not is_paired(gate.metric):
        raise GateSettingsError(
            f"gate {gate.metric!r} cannot be a comparison with the champion: it is not computed from held-out rows; "
            "use a floor or a ceiling"
        )


def _check_confidence(gates: Sequence[Gate], settings: Settings) -> None:
    first = Use(spending=settings.registry.spending)
    for gate in gates:
        nominal = gate.confidence or settings.evaluation.confidence
        if gate.kind in PAIRED_KINDS and first.confidence(nominal) <= 0.5:
            raise GateSettingsError(
                f"gate {gate.metric!r}: with confidence {nominal:g} and registry.spending {first.spending:g} the first "
                f"use of held-out rows would be {first.confidence(nominal):.0%} sure, which is no better than a coin; "
                "raise the confidence, or lower registry.spending"
            )


def _check_shadow(gates: Sequence[Gate], batches: int) -> None:
    for gate in gates:
        if not gate.metric.startswith(SHADOW):
            continue
        if batches == 0:
            raise GateSettingsError(
                f"gate {gate.metric!r}: nothing scores in shadow while registry.shadow_batches is 0"
            )
        if gate.metric == f"{SHADOW}batches" and (gate.kind != "floor" or gate.value is None or gate.value > batches):
            raise GateSettingsError(
                f"gate {gate.metric!r} has to be a floor of at most registry.shadow_batches, which is {batches}"
            )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _must_be(result: GateResult) -> str:
    limit = _shown(result.threshold)
    words = {"floor": f"≥ {limit}", "ceiling": f"≤ {limit}", "non_inferiority": f"difference ≥ {limit}"}
    words["superiority"] = f"difference > {limit}"
    words[NO_DECLINE] = f"since the best ≥ {limit}"
    return words.get(result.kind, "all rows")


def _said(result: GateResult) -> str:
    return f"**{result.verdict.replace('_', ' ')}**: {result.message}"
