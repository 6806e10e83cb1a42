"""`packshot calibrate-shop`: the champion on a shop's own scale, fitted from labels, tried, put in force, withdrawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packshot.catalog.labels import LabelStore, Opinion
from packshot.config import Settings
from packshot.home import Home
from packshot.ops.labels import add_labels, unlearned
from packshot.ops.pipeline import Outcome
from packshot.progress import say, track

if TYPE_CHECKING:
    from packshot.bundle import Judgement
    from packshot.evaluation.shop_scale import ShopLabels
    from packshot.evaluation.shop_trial import Prospect, Trial
    from packshot.registry.shop_scales import ScaleRecord
    from packshot.scoring.judging import Scorer

Mode = Literal["dry-run", "apply"]
TOGETHER = 8
"""Pictures that the judge gets at a time."""


@dataclass(frozen=True)
class Gathered:
    """Labelled pictures that a scale can be fitted to, the faults told of each (None: the champion looks for none), the
    digest of what was said, and the numbers of those left out, by why."""

    labels: ShopLabels
    faults: list[tuple[str, ...]] | None
    sha256: str
    left_out: Mapping[str, int]


def calibrate_shop(settings: Settings, mode: Mode, file: Path | None = None) -> Outcome:
    """Fit the shop's scale to the labels that were added (`file` is added first) and try it on labels left out.

    `apply` puts it in force where it is better than the champion alone; the record's `objections` say why not. Not done
    where this very scale is in force. Raises TooFewLabels, LabelsRefused, NoSuchModel.
    """
    from packshot.evaluation.shop_scale import accepted_faults, fitted
    from packshot.evaluation.shop_trial import objections, prospects, tried
    from packshot.evaluation.thresholds import in_force
    from packshot.scoring.scorer import open_unscaled

    if file is not None:
        add_labels(settings, file)
    scorer = open_unscaled(settings, "champion")
    gathered = _gathered(settings, scorer)
    costs, coverage = settings.scoring.costs, settings.evaluation.interval_coverage
    line = fitted(gathered.labels, costs, coverage)
    judge = in_force(settings.scoring, scorer.rated).thresholds
    if gathered.faults is not None:
        judge = replace(judge, review_width=1.0)  # where faults are known a wide interval sends nobody to look
    trial = tried(gathered.labels, judge, costs, coverage)
    against = objections(trial, coverage)
    told = prospects(gathered.labels, judge, costs, coverage)
    figures: dict[str, Any] = {
        "model_version": scorer.lineage.model_version,
        "labels": len(gathered.labels),
        "scores": int(gathered.labels.scored.sum()),
        "left_out": dict(gathered.left_out),
        "map": asdict(line),
        "accepted_faults": accepted_faults(gathered.faults or [], gathered.labels.good(costs.good_from), costs),
        "thresholds": asdict(line.thresholds(costs)),
        "tried": trial.as_record(),
        "prospects": [asdict(one) for one in told],
        "objections": against,
    }
    say(_table(trial, told))
    for fault in figures["accepted_faults"]:
        say(f"{fault}: the labels accept it; it is told and decides nothing")
    record = _record(settings, scorer, gathered, figures)
    if mode == "dry-run":
        return Outcome(figures | {"in_force": None})
    return _applied(settings, scorer, record, figures)


def withdraw_scale(settings: Settings) -> Outcome:
    """Do without the champion's scale from here on. Raises NoScale, NoSuchModel."""
    from packshot.registry.ledger import Ledger
    from packshot.registry.shop_scales import withdraw
    from packshot.scoring.scorer import open_unscaled

    scorer = open_unscaled(settings, "champion")
    name = withdraw(scorer.digest, settings.registry.model_name, Ledger.from_environment())
    say(f"scale {name} is withdrawn; new batches are scored as the champion judges them")
    return Outcome({"withdrawn": name, "in_force": None})


def _applied(settings: Settings, scorer: Scorer, record: ScaleRecord, figures: dict[str, Any]) -> Outcome:
    from packshot.registry.ledger import Ledger
    from packshot.registry.shop_scales import labels_in_force, put_in_force, refuse

    ledger, name = Ledger.from_environment(), settings.registry.model_name
    version = scorer.lineage.model_version
    assert version is not None, "the champion is a registered version"
    now = labels_in_force(scorer.digest, name, ledger)
    if figures["objections"]:
        refuse(record, figures, figures["objections"], name, version, ledger)
        return Outcome(figures | {"in_force": None})
    if now == record.labels_sha256:
        say("the scale in force was fitted to these very labels; nothing to do")
        return Outcome(figures, done=False)
    found = put_in_force(record, figures, name, version, ledger)
    say(f"scale {found} decides on new batches by version {version}; `calibrate-shop --withdraw` takes it back")
    return Outcome(figures | {"in_force": found})


def _record(settings: Settings, scorer: Scorer, gathered: Gathered, figures: Mapping[str, Any]) -> ScaleRecord:
    from packshot.drift.alarm import utc_now
    from packshot.registry.ledger import default_actor
    from packshot.registry.shop_scales import FORMAT_VERSION, ScaleRecord

    return ScaleRecord(
        format_version=FORMAT_VERSION,
        bundle_sha256=scorer.digest,
        labels_sha256=gathered.sha256,
        labels=len(gathered.labels),
        good_from=settings.scoring.costs.good_from,
        coverage=settings.evaluation.interval_coverage,
        fitted_at=utc_now().isoformat(timespec="seconds"),
        fitted_by=default_actor(),
        accepted_faults=figures["accepted_faults"],
        **figures["map"],
    )


# --- the labels -----------------------------------------------------------------------------------


def _gathered(settings: Settings, scorer: Scorer) -> Gathered:
    """The labels with a score or a decision, and what the champion says of the kept copies of their pictures."""
    version = scorer.lineage.model_version
    assert version is not None, "the champion is a registered version"
    opinions = LabelStore(Home.from_environment().labels).opinions()
    told = {key: one for key, one in opinions.items() if one.quality_mos is not None or one.decision or one.disputed}
    fresh = unlearned(settings, version, told)
    agreed = {key: one for key, one in fresh.items() if not _contradicts(one, settings.scoring.costs.good_from)}
    judged = _judged(settings, scorer, agreed)
    left_out = {
        "the champion learned from them": len(told) - len(fresh),
        "labels contradict each other": len(fresh) - len(agreed),
        "the picture cannot be judged": len(agreed) - len(judged),
    }
    for why, count in left_out.items():
        if count:
            say(f"{count} labelled pictures are left out: {why}")
    return _as_labels(settings, agreed, judged, left_out)


def _contradicts(opinion: Opinion, good_from: float) -> bool:
    """Whether a score and a decision say opposite things, or people's decisions do and nobody gave a score."""
    if opinion.quality_mos is None:
        return opinion.disputed
    return opinion.decision is not None and (opinion.decision == "accept") != (opinion.quality_mos >= good_from)


def _judged(settings: Settings, scorer: Scorer, opinions: Mapping[str, Opinion]) -> dict[str, Judgement]:
    """What the judge says by picture, of the copies that the labels keep."""
    found: dict[str, Judgement] = {}
    for names, images in _pictures(settings, opinions):
        found.update(zip(names, scorer.judge.judge(images), strict=True))
    return found


def _pictures(settings: Settings, opinions: Mapping[str, Opinion]) -> Iterator[tuple[list[str], list[Any]]]:
    from packshot.catalog.decoding.isolated import decode
    from packshot.catalog.image import BadImage, ImageLimits

    folder, limits = Home.from_environment().labels, ImageLimits.from_settings(settings.validation)
    names: list[str] = []
    images: list[Any] = []
    for name in track(sorted(opinions), "judging labelled pictures", len(opinions), "pictures"):
        try:
            images.append(decode(folder / opinions[name].label.file, limits))
            names.append(name)
        except BadImage as error:
            say(f"{opinions[name].label.path}: {error}")
        if len(images) == TOGETHER:
            yield names, images
            names, images = [], []
    if images:
        yield names, images


def _as_labels(
    settings: Settings,
    opinions: Mapping[str, Opinion],
    judged: Mapping[str, Judgement],
    left_out: Mapping[str, int],
) -> Gathered:
    import numpy as np

    from packshot.evaluation.shop_scale import ShopLabels
    from packshot.scoring.faults import present

    names = sorted(judged)
    said = [(opinions[name].quality_mos, opinions[name].decision) for name in names]
    score = np.array([np.nan if value is None else value for value, _ in said], dtype=np.float64)
    fit = np.array([{"accept": 1.0, "reject": 0.0}.get(decision or "", np.nan) for _, decision in said])
    judgements = [judged[name] for name in names]
    quality = np.array([one.quality for one in judgements], dtype=np.float64)
    ends = np.array([(one.quality_low, one.quality_high) for one in judgements], dtype=np.float64).reshape(-1, 2)
    half = np.maximum(quality - ends[:, 0], ends[:, 1] - quality)
    blind = any(one.faults is None for one in judgements)
    rules = settings.scoring
    faults = [tuple(found.fault for found in present(one.faults, rules)) for one in judgements]
    whole = json.dumps([settings.scoring.costs.good_from, settings.evaluation.interval_coverage, names, said])
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return Gathered(ShopLabels(quality, half, score, fit), None if blind else faults, digest, left_out)


# --- what is told ---------------------------------------------------------------------------------


def _table(trial: Trial, told: Sequence[Prospect]) -> str:
    lines = [f"{'on labels left out':24}{'inside':>10}{'width':>10}{'interval score':>17}{'cost per 100':>15}"]
    for name, one in (("with the shop's scale", trial.with_labels), ("the champion alone", trial.without)):
        shown = (one.coverage, one.width, one.interval_score)
        inside, width, score = ("–" if value is None else f"{value:.3f}" for value in shown)
        lines.append(f"{name:24}{inside:>10}{width:>10}{score:>17}{one.cost:15.1f}")
    for each in told:
        lines.append(
            f"{each.labels} labels{' (expected)' if each.expected else ''}: interval {each.width:.3f} wide, "
            f"{each.cost:.0f} per 100 decisions"
        )
    return "\n".join(lines)
