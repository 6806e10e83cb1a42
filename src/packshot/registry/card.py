"""The model card: what a version is for, what it was made from, how good it is, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping

from packshot.catalog.held_out import HeldOutSets
from packshot.catalog.source_record import SourceRecord
from packshot.config import Gate, Profile, Settings
from packshot.evaluation.thresholds import InForce
from packshot.registry.gates import PAIRED_KINDS, check_settings
from packshot.revision import RunKey


def model_card(
    settings: Settings,
    source: SourceRecord,
    key: RunKey,
    figures: Mapping[str, float],
    bounds: InForce,
    *,
    blind_heads: bool = False,
    note: str | None = None,
    held_out: HeldOutSets | None = None,
) -> str:
    """Markdown, rendered from settings, source and held-out figures; nothing in it is written by hand per version.

    `bounds`: the thresholds that decide with the settings as they are. `blind_heads`: whether held-out pictures taught
    the overall score too, each judged by a head blind to its group. `held_out`: what it never learned from.
    """
    profile = {str(name): one for name, one in settings.profiles.items()}[source.profile]
    parts = [
        f"# {settings.registry.model_name}",
        note or "",
        _purpose(),
        _made_from(settings, source, key, blind_heads),
        _held_out(held_out) if held_out else "",
        _figures(profile, figures),
        _decisions(settings, bounds),
        _limits(profile),
        _gates(check_settings(settings, source.profile)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _purpose() -> str:
    return (
        "## Intended use\n\n"
        "Judging product photographs of a shop's catalogue: a technical quality score with an interval, sharpness, "
        "colour balance and detail, a visual style, and an enhanced version of the picture. It routes pictures "
        "(accept, enhance, review, reject); a person decides what the interval leaves open.\n\n"
        "Not for judging people, products or prices, and not for pictures that are no photographs of goods."
    )


def _made_from(settings: Settings, source: SourceRecord, key: RunKey, blind_heads: bool) -> str:
    lines = ["## Made from", "", "| set | images | licence | from |", "|---|---|---|---|"]
    for name, record in source.sets.items():
        where = " at ".join(part for part in (record.address, (record.commit or "")[:12]) if part)
        lines.append(f"| {name} | {record.rows} | {record.licence or 'not stated'} | {where or 'local files'} |")
    model = settings.network
    lines += [
        "",
        f"Backbone `{model.backbone}`, recipe `{settings.training.recipe}`. "
        f"Data revision `{key.data_rev}`, code `{key.code_rev}`, parameters `{key.params_hash}`.",
    ]
    teacher, share = settings.training.chosen.teacher, settings.training.chosen.human_share
    if teacher is not None:
        lines[-1] += (
            f" The overall score is learned from people ({share:.0%}) and its teacher, `{teacher}`, where people "
            "scored, and from the teacher alone elsewhere."
        )
    if blind_heads:
        lines[-1] += (
            f" The overall score is the mean of {model.quality_heads} heads, which together have learned from every "
            "scored picture; each held-out picture was judged by the head that learned from nothing of its group."
        )
    return "\n".join(lines)


def _held_out(sets: HeldOutSets) -> str:
    rows = [f"| {name} | {one.images} | {one.groups} | `{one.sha256}` |" for name, one in sorted(sets.items())]
    return "\n".join(
        [
            "## Never learned from",
            "",
            "The test split of each set; two models are compared on these pictures where both have the same digest.",
            "",
            "| set | images | groups | sha256 of the sorted names of the groups |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _figures(profile: Profile, figures: Mapping[str, float]) -> str:
    if not figures:
        return "## Figures\n\nThis version was registered without figures of its own; the gates score it."
    rows = [row for name in profile.quality for row in _quality_rows(name, figures)]
    rows += [row for name in profile.style for row in _style_rows(name, figures)]
    rows += [*_enhance_rows(figures), *_fault_rows(figures)]
    shown = [f"| {label} | {_value(figures, name)} | {_value(figures, base)} |" for label, name, base in rows]
    return "\n".join(["## Figures on held-out groups", "", "| figure | model | baseline |", "|---|---|---|", *shown])


def _quality_rows(name: str, figures: Mapping[str, float]) -> list[tuple[str, str, str]]:
    baseline = f"quality/srcc_subset_baseline/{name}"
    rows = [
        (f"{name}: SRCC of quality (baseline knows only the subset)", f"quality/srcc/{name}", baseline),
        (f"{name}: SRCC, mean over group folds", f"quality/srcc_folds/{name}", baseline),
        (f"{name}: PLCC", f"quality/plcc/{name}", ""),
        (f"{name}: PLCC, mean over group folds", f"quality/plcc_folds/{name}", ""),
        (f"{name}: SRCC within subsets, mean over group folds", f"quality/srcc_within_folds/{name}", ""),
        (f"{name}: share of human scores inside the interval", f"quality/coverage/{name}", ""),
    ]
    prefix = f"quality/srcc/{name}/"
    rows += [(f"{name}, subset {n.removeprefix(prefix)}: SRCC", n, "") for n in sorted(figures) if n.startswith(prefix)]
    return [row for row in rows if row[1] in figures]


def _style_rows(name: str, figures: Mapping[str, float]) -> list[tuple[str, str, str]]:
    majority = f"style/accuracy_majority/{name}"
    rows = [
        (f"{name}: style accuracy (baseline says the commonest style)", f"style/accuracy/{name}", majority),
        (f"{name}: style accuracy, mean over group folds", f"style/accuracy_folds/{name}", majority),
        (f"{name}: macro-F1", f"style/macro_f1/{name}", ""),
        (f"{name}: calibration error (ECE)", f"style/ece/{name}", ""),
    ]
    return [row for row in rows if row[1] in figures]


def _enhance_rows(figures: Mapping[str, float]) -> list[tuple[str, str, str]]:
    rows = [
        ("enhancer: PSNR gain, dB (baseline: classic chain)", "enhance/psnr_gain", "enhance/psnr_gain_classic"),
        ("enhancer: SSIM gain", "enhance/ssim_gain", "enhance/ssim_gain_classic"),
    ]
    return [row for row in rows if row[1] in figures]


def _fault_rows(figures: Mapping[str, float]) -> list[tuple[str, str, str]]:
    prefix = "faults/recall/"
    names = sorted(name for name in figures if name.startswith(prefix))
    return [
        (f"fault {name.removeprefix(prefix)}: found of those planted, at 5 % false alarms", name, "") for name in names
    ]


def _value(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.3f}" if name in figures else ""


def _decisions(settings: Settings, bounds: InForce) -> str:
    costs = settings.scoring.costs
    return (
        f"## Decisions\n\nBy the settings at registration, pictures are {bounds}. "
        f"Costs: an unfit picture accepted {costs.wrong_accept:g}, a fit one sent back {costs.wrong_reject:g}, "
        f"a review {costs.review:g}; fit from a human score of {costs.good_from:g}."
    )


def _limits(profile: Profile) -> str:
    return (
        "## Limits\n\n"
        f"- Human scores of quality come from {_listed(profile.quality)}, style labels from {_listed(profile.style)}; "
        "on other kinds of pictures the scores rank less well, and the scale may be shifted.\n"
        "- Sharpness, colour balance and detail are learned from controlled degradations, not from people.\n"
        "- The enhancer is trained on synthetic degradations of clean pictures; it leaves alone what it cannot mend, "
        "and no figure here says how people like its results.\n"
        "- The interval holds on average over pictures like those of training, not for every kind of picture."
    )


def _gates(gates: list[Gate]) -> str:
    lines = ["## Gates in force at registration", "", "| metric | kind | value | margin | groups at least |"]
    lines.append("|---|---|---|---|---|")
    for gate in gates:
        value = "" if gate.value is None else f"{gate.value:g}"
        margin = f"{gate.margin:g}" if gate.kind in PAIRED_KINDS else ""
        lines.append(f"| `{gate.metric}` | {gate.kind} | {value} | {margin} | {gate.min_groups or ''} |")
    return "\n".join(lines)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no set"
