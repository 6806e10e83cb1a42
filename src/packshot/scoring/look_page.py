"""Verdicts on single pictures as a page for a terminal: what was decided, what is wrong, what to do."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from packshot.scoring.contract import Check, Verdict
from packshot.scoring.decisions import reason_code
from packshot.scoring.rules.findings import SEVERITY

NEXT = {
    "accept": "show it as it is",
    "enhance": "show the enhanced picture in its place",
    "review": "a person has to look at it",
    "reject": "send it back to the seller",
}
COLOURS = {"accept": "green", "enhance": "cyan", "review": "yellow", "reject": "red"}
ATTRIBUTES = ("sharpness", "colour_balance", "detail")


def page(verdicts: Sequence[Verdict], out: Path | None, *, width: int, colour: bool) -> str:
    """One block a verdict, at most `width` columns wide. `out`: where enhanced pictures are kept."""
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, no_color=not colour, highlight=False)
    with console.capture() as captured:
        for verdict in verdicts:
            console.print(_block(verdict, out))
    return captured.get().rstrip("\n")


def _block(verdict: Verdict, out: Path | None) -> Group:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(no_wrap=True)
    facts.add_column()
    decision = Text(f"{verdict.decision}: {NEXT[verdict.decision]}", style=f"bold {COLOURS[verdict.decision]}")
    facts.add_row("decision", decision)
    for name, value in _facts(verdict, out):
        facts.add_row(name, _text(value))
    failed = sorted(verdict.failed(), key=_severity)
    return Group(Text(_printable(verdict.path), style="bold"), facts, _wrong(failed) if failed else Text())


def _facts(verdict: Verdict, out: Path | None) -> Iterator[tuple[str, str]]:
    if verdict.quality is not None:
        yield "score", f"{verdict.quality:.2f} ({verdict.quality_low:.2f} to {verdict.quality_high:.2f})"
        scores = ((name, getattr(verdict, name)) for name in ATTRIBUTES)
        yield "", ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in scores if value is not None)
    if verdict.style is not None:
        yield "style", f"{verdict.style} ({verdict.style_confidence or 0:.0%})"
    told = {check.rule for check in verdict.failed()}
    others = [reason for reason in verdict.reasons if reason_code(reason) not in told]
    yield from zip(["because", *[""] * len(others)], others, strict=False)
    yield from _enhanced(verdict, out)
    yield from (("note", note) for note in verdict.notes)
    yield from (("not checked", text) for text in _not_checked(verdict))


def _enhanced(verdict: Verdict, out: Path | None) -> Iterator[tuple[str, str]]:
    if verdict.quality_after is None:
        return
    scored = f"score {verdict.quality_after:.2f}"
    if verdict.decision != "enhance":
        yield "enhanced", f"tried, {scored}; not kept"
    elif verdict.enhanced_path is not None and out is not None:
        yield "enhanced", f"{out / verdict.enhanced_path}, {scored}"
    else:
        yield "enhanced", f"{scored}; --out FOLDER keeps it"


def _not_checked(verdict: Verdict) -> Iterator[str]:
    why: dict[str, list[str]] = {}
    for check in verdict.checks:
        if check.status == "not_checked" and verdict.error is None:
            why.setdefault(check.why or "", []).append(check.rule)
    return (f"{', '.join(rules)}: {reason}" for reason, rules in why.items())


def _wrong(failed: Sequence[Check]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("what is wrong", "found", "asked"):
        table.add_column(name, overflow="fold")
    table.add_column("what to do", ratio=1)
    for check in failed:
        bound = f"at {check.bound} {_figure(check.required)}" if check.bound and check.required is not None else ""
        table.add_row(check.rule, _found(check), bound, _remedy(check))
    return table


def _found(check: Check) -> str:
    if check.measured is None:
        return f"{check.probability:.0%} likely" if check.probability is not None else ""
    unit = f" {check.unit}" if check.unit and check.kind != "score" else ""
    likely = f", {check.probability:.0%} likely" if check.probability is not None else ""
    return f"{_figure(check.measured)}{unit}{likely}"


def _remedy(check: Check) -> Text:
    if check.done == "fixed":
        return _text("Nothing: the enhanced picture is free of it.")
    if check.done == "improved":
        return _text("Nothing: the enhanced picture has less of it.")
    return _text(check.advice or "A person has to look at it.")


def _severity(check: Check) -> int:
    return SEVERITY.index(check.severity) if check.severity in SEVERITY else len(SEVERITY)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _text(value: str) -> Text:
    return Text(_printable(value))


def _printable(text: str) -> str:
    """Without what would steer the terminal: names come from strangers."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
