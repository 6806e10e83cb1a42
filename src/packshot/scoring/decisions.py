"""From broken rules and scores to a decision and its reasons. Pure: no files, no model, no clock.

`accept` as it is, `enhance` (the enhanced image replaces it), `review` by a person, `reject` back to the
seller. A reason reads `code: figure and bound`; the code is stable, and the heaviest reason comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packshot.config import ScoringSettings
from packshot.faults.detector import Found
from packshot.scoring.enhancing import NOTHING_GAINS
from packshot.scoring.faults import KEPT, Outcome, first_verdict, hopeless, outcomes_of, present, retold
from packshot.scoring.faults import reasons as fault_reasons
from packshot.scoring.rules import Finding

Verdict = Literal["accept", "enhance", "review", "reject"]
SHOWN: tuple[Verdict, ...] = ("accept", "enhance")
"""Decisions after which a shop shows the picture."""
FORCED: tuple[Verdict, ...] = ("reject", "review")
"""What a broken rule decides by itself, the harder first."""
BEYOND_DOUBT_DB = 1.0
"""A gain expected from here on is taken for granted."""
ATTRIBUTES = ("sharpness", "colour_balance", "detail")


@dataclass(frozen=True)
class Scores:
    """What the judge said of one image; every value 0..1."""

    quality: float
    quality_low: float
    quality_high: float
    sharpness: float
    colour_balance: float
    detail: float

    @property
    def finite(self) -> bool:
        """Whether every score is a number."""
        return all(math.isfinite(value) for value in vars(self).values())


@dataclass(frozen=True)
class Decision:
    """A decision and why, the heaviest reason first."""

    decision: Verdict
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Enhanced:
    """What enhancing did: the judge's scores after it, how alike it is to the input (-1..1), how far the colours of the
    product moved (a*, b* of CIELAB), and the catalogue rules that the enhanced image breaks.

    `gain`: by how many dB of PSNR it is expected to be nearer to the true picture, where the model says so;
    `similarity` is the correlation of coarse luma then, and the SSIM on luma where it does not.
    """

    scores: Scores
    similarity: float
    colour_shift: float
    findings: tuple[Finding, ...] = ()
    gain: float | None = None
    faults: tuple[Found, ...] | None = None
    """What is found in the enhanced image, where the model looks for faults."""


def decide(
    scores: Scores,
    rules: ScoringSettings,
    findings: Sequence[Finding] = (),
    faults: Sequence[Found] | None = None,
) -> Decision:
    """The first look. `enhance` here means that enhancing is to be tried; `settle` has the last word.

    The catalogue rules come first: a broken one that rejects or sends to a person does so whatever the judge says. Then
    scores that are not numbers are never accepted: the image goes to a person. Then the faults: no picture with one is
    accepted as it is. Then the score, and a broken rule that asks for enhancing comes before a good one. An interval
    that is too wide to act on sends to a person only where `faults` is None: where nothing else can tell what is wrong.
    """
    there = present(faults, rules)
    broken = (*reasons_of(findings), *fault_reasons(there, rules, {}))
    for verdict in FORCED:
        if any(finding.effect == verdict for finding in findings):
            return Decision(verdict, (*broken, *shortfalls(scores, rules, width_decides=faults is None)))
    if not scores.finite:
        return Decision("review", (*broken, "not_a_number: the judge gave no usable score"))
    reasons = (*broken, *shortfalls(scores, rules, width_decides=faults is None))
    if there:
        return Decision(first_verdict(there, rules), reasons)
    if faults is None and scores.quality_high - scores.quality_low > rules.review_width:
        return Decision("review", reasons)
    if scores.quality >= rules.accept_at and not broken:
        return Decision("accept", reasons)
    return Decision("enhance", reasons)


def reasons_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The broken rules as reasons, in order; what is only noted for the seller decides nothing."""
    return tuple(finding.reason for finding in findings if finding.effect != "note")


def settle(
    first: Decision,
    scores: Scores,
    enhanced: Enhanced | str | None,
    rules: ScoringSettings,
    findings: Sequence[Finding] = (),
    there: Sequence[Found] = (),
) -> Decision:
    """The decision after an attempt at enhancement (a text says why it could not be made; None: the enhancer failed);
    `findings` and the faults `there` are the input's.

    The enhanced image is kept when it is still the same picture (similarity at least 1 - `max_enhanced_shift`), its
    colours moved by no more than `max_colour_shift` or are better balanced for it, it breaks no catalogue rule but
    those noted of the input, and the model expects it to be nearer to the true picture; the judge then has a voice only
    where his intervals leave no doubt, or where no fault is weaker than it was. Where the model knows nothing of gains
    his score has to rise by at least `min_gain`, no attribute to fall by more than `max_attribute_fall` (they learned
    from damage, not from people: a second opinion), and the new score not to be below `reject_below`. Otherwise the
    input is rejected below `reject_below`, and reviewed above it.
    """
    obstacle = _obstacle(scores, enhanced, rules) or _rule_broken(enhanced, findings)
    obstacle = obstacle or _no_better(scores, enhanced, rules, there)
    if obstacle is None:
        return Decision("enhance", first.reasons)
    fallback: Verdict = "reject" if scores.quality < rules.reject_below else "review"
    return Decision(fallback, (*first.reasons, obstacle))


def with_faults(
    decision: Decision, scores: Scores, there: Sequence[Found], outcomes: Mapping[str, Outcome], rules: ScoringSettings
) -> Decision:
    """What `settle` decided on a picture with the faults `there`, after an attempt that came to `outcomes`.

    The reasons say what came of each fault. A picture that stays as it came goes back where a fault is beyond doubt, or
    where a score that is sure enough to act on is below `reject_below`; else a person looks.
    """
    verdict, reasons = decision.decision, retold(decision.reasons, there, rules, outcomes)
    if verdict == "enhance":  # what is shown is better than what came, so nobody is asked to take it again
        reasons = tuple(text.replace("cannot be fixed; reshoot", "not fixed") for text in reasons)
    if there and verdict in FORCED:
        narrow = scores.quality_high - scores.quality_low <= rules.review_width
        poor = narrow and scores.quality < rules.reject_below
        verdict = "reject" if poor or any(hopeless(one, rules) for one in there) else "review"
    return Decision(verdict, reasons)


def changes_colours(scores: Scores, enhanced: Enhanced, rules: ScoringSettings) -> bool:
    """Whether enhancing moves the colours of the product further than it may: a cast that is removed is no fault."""
    balanced = enhanced.scores.colour_balance - scores.colour_balance >= rules.min_gain
    balanced = balanced or (enhanced.gain is not None and enhanced.gain >= BEYOND_DOUBT_DB)
    return enhanced.colour_shift > rules.max_colour_shift and not balanced


def refuse(reason: str, detail: str) -> tuple[Decision, str]:
    """The decision on a file that could not be judged, and the text of its `error`."""
    error = f"{reason}: {detail}"
    return Decision("reject", (error,)), error


def reason_code(reason: str) -> str:
    """The stable code of a reason: what stands before its colon."""
    return reason.split(":", 1)[0]


def shortfalls(scores: Scores, rules: ScoringSettings, width_decides: bool = True) -> tuple[str, ...]:
    """Every bound an image misses, by the share it misses it by, largest first; that on the width of the interval only
    where it decides."""
    found: list[tuple[float, str]] = []
    if scores.quality < rules.accept_at:
        text = f"low_quality: {scores.quality:.2f} is below {rules.accept_at:.2f}"
        found.append((1.0 - scores.quality / rules.accept_at, text))
    for name in ATTRIBUTES:
        value = getattr(scores, name)
        if value < rules.attribute_floor:
            text = f"low_{name}: {value:.2f} is below {rules.attribute_floor:.2f}"
            found.append((1.0 - value / rules.attribute_floor, text))
    width = scores.quality_high - scores.quality_low
    if width_decides and width > rules.review_width:
        # Uncertainty decides on its own, so it leads.
        found.append((2.0, f"uncertain: the interval is {width:.2f} wide, more than {rules.review_width:.2f}"))
    return tuple(text for _, text in sorted(found, key=lambda pair: (-pair[0], pair[1])))


def _obstacle(scores: Scores, enhanced: Enhanced | str | None, rules: ScoringSettings) -> str | None:
    if enhanced is None:
        return "not_enhanced: the enhancer failed on this image"
    if isinstance(enhanced, str):
        return f"{'no_gain' if enhanced == NOTHING_GAINS else 'not_enhanced'}: {enhanced}"
    after = enhanced.scores
    if not (after.finite and math.isfinite(enhanced.similarity) and math.isfinite(enhanced.colour_shift)):
        return "not_enhanced: the enhanced image has no usable score"
    if enhanced.similarity < 1.0 - rules.max_enhanced_shift:
        least = 1.0 - rules.max_enhanced_shift
        return f"changed_too_much: similarity {enhanced.similarity:.2f} is below {least:.2f}"
    if changes_colours(scores, enhanced, rules):
        return f"colour_changed: colours move by {enhanced.colour_shift:.1f}, more than {rules.max_colour_shift:.1f}"
    return _judged_worse(scores, after, rules) if enhanced.gain is None else _surely_worse(scores, after, rules)


def _surely_worse(scores: Scores, after: Scores, rules: ScoringSettings) -> str | None:
    if after.quality_high < scores.quality_low:
        return f"no_gain: enhancing changes quality by {_signed(after.quality - scores.quality)}, beyond doubt"
    if after.quality_high < rules.reject_below:
        return f"still_poor: {after.quality_high:.2f} at best after enhancing is below {rules.reject_below:.2f}"
    return None


def _no_better(
    scores: Scores, enhanced: Enhanced | str | None, rules: ScoringSettings, there: Sequence[Found]
) -> str | None:
    """An enhanced picture in which every fault is as it was, and whose score is no higher, is good for nothing."""
    if not isinstance(enhanced, Enhanced) or enhanced.faults is None or not there:
        return None
    helped = any(outcome in KEPT for outcome in outcomes_of(there, enhanced.faults, rules, kept=True).values())
    gain = enhanced.scores.quality - scores.quality
    if helped or gain > 0:
        return None
    return f"no_gain: no fault is weaker after enhancing, and quality changes by {_signed(gain)}"


def _judged_worse(scores: Scores, after: Scores, rules: ScoringSettings) -> str | None:
    gain = after.quality - scores.quality
    if gain < rules.min_gain:
        return f"no_gain: enhancing changes quality by {_signed(gain)}, {_signed(rules.min_gain)} is needed"
    for name in ATTRIBUTES:
        fall = getattr(scores, name) - getattr(after, name)
        if fall > rules.max_attribute_fall:
            return f"worse_{name}: it falls by {fall:.2f}, more than {rules.max_attribute_fall:.2f}"
    if after.quality < rules.reject_below:
        return f"still_poor: {after.quality:.2f} after enhancing is below {rules.reject_below:.2f}"
    return None


def _rule_broken(enhanced: Enhanced | str | None, findings: Sequence[Finding]) -> str | None:
    noted = {finding.rule for finding in findings if finding.effect == "note"}
    broken = (
        [finding for finding in enhanced.findings if finding.rule not in noted]
        if isinstance(enhanced, Enhanced)
        else []
    )
    return f"breaks_{broken[0].reason}" if broken else None


def _signed(value: float) -> str:
    """With three decimals and a sign, that of nothing being a plus."""
    return f"{round(value, 3) + 0.0:+.3f}"
