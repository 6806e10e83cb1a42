"""The story of one verdict as a page for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from packshot.scoring.verdicts import STATISTICS

Lines = Iterator[str]
_SCORES = ("sharpness", "colour_balance", "detail")
_METRICS_SHOWN = 12
_DONE = {
    "fixed": "failed, fixed in the enhanced picture",
    "improved": "failed, milder in the enhanced picture",
    "not_fixed": "failed, enhancing did not fix it",
    "not_tried": "failed, enhancing was not tried",
    None: "failed",
}


def page(record: Mapping[str, Any]) -> str:
    """What `exports.why.why` found, in sections from the pixels back to the data; what is missing stands last."""
    sections: Sequence[tuple[str, Lines]] = (
        ("Decision", _decision(record)),
        ("Picture", _picture(record)),
        ("Measured", _measured(record)),
        ("Findings", _findings(record["found"])),
        ("Asked", _asked(record["verdict"]["checks"])),
        ("Enhancing", _enhanced(record["enhanced"])),
        ("Model", _model(record["model"])),
        ("Gates", _gates(record["model"].get("gates"))),
        ("Training data", _revision(record["data"], "data_rev")),
        ("Code", _code(record["code"])),
        ("Checked", _checks(record["checks"])),
        ("Not on record", (f"{text}" for text in record["missing"])),
    )
    shown = [f"{record['picture']['batch_id']}/{record['picture']['path']}"]
    for title, lines in sections:
        body = [f"  {line}" for line in lines]
        if body:
            shown += ["", title, *body]
    return "\n".join(map(_printable, shown))


def _printable(line: str) -> str:
    """A line without what would steer the terminal: names come from strangers."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _decision(record: Mapping[str, Any]) -> Lines:
    decided = record["decision"]
    yield f"{decided['decision']}, {record['scored_at'][:19].replace('T', ' ')} UTC"
    for number, reason in enumerate(decided["reasons"], start=1):
        yield f"{number}. {reason}"
    if not decided["reasons"]:
        yield "no bound was missed"


def _picture(record: Mapping[str, Any]) -> Lines:
    picture = record["picture"]
    if picture["width"]:
        yield f"{picture['width']} x {picture['height']} pixels, {picture['format']}"
    if picture["image_id"]:
        yield f"sha256 {picture['image_id']}"
    if picture["file"]:
        yield picture["file"]
    facts = [f"{name} {picture[name]}" for name in ("sku", "sender", "category", "title") if picture[name]]
    if facts:
        yield ", ".join(facts)
    yield f"verdict in {record['verdicts']}"


def _measured(record: Mapping[str, Any]) -> Lines:
    measured = record["measured"]
    if measured["quality"] is not None:
        low, high = measured["quality_low"], measured["quality_high"]
        yield f"quality {measured['quality']:.3f} ({low:.3f} to {high:.3f})"
        yield ", ".join(f"{name.replace('_', ' ')} {measured[name]:.3f}" for name in _SCORES)
    style = record["style"]
    if style["style"]:
        yield f"style {style['style']}, confidence {style['confidence']:.2f}"
    known = [f"{name.replace('_', ' ')} {measured[name]:.3g}" for name in STATISTICS if measured[name] is not None]
    if known:
        yield ", ".join(known)


def _findings(found: Mapping[str, Any]) -> Lines:
    if found["profile"]:
        yield f"rules of profile {found['profile']}"
    for one in found["findings"] or ():
        yield f"{one['rule']}: {one['value']:.4g}, bound {one['threshold']:.4g}, calls for {one['effect']}"
        yield f"  {one['sentence']}"
    if found["duplicate_of"]:
        yield f"duplicate of {found['duplicate_of']}"
    for name, value in sorted(found["measures"].items()):
        yield f"{name} {value:.4g}"


def _asked(checks: Sequence[Mapping[str, Any]]) -> Lines:
    """How the picture stood what it was asked; of a rule that it breaks the findings tell the rest."""
    if not checks:
        return
    counts = Counter(check["status"] for check in checks)
    yield ", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in ("passed", "failed", "not_checked"))
    for check in (check for check in checks if check["status"] == "failed"):
        yield f"{check['rule']}: {_DONE[check['done']]}"
    for why, rules in _by_why(checks).items():
        yield f"not checked, {why}: {', '.join(rules)}"


def _by_why(checks: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in checks:
        if check["status"] == "not_checked":
            found.setdefault(check["why"], []).append(check["rule"])
    return found


def _enhanced(enhanced: Mapping[str, Any] | None) -> Lines:
    if enhanced is None:
        return
    if enhanced["gain"] is not None:
        yield f"quality {enhanced['quality_after']:.3f} after it, {enhanced['gain']:+.3f}"
    yield f"kept: {enhanced['file']}" if enhanced["kept"] else "tried, and not kept"


def _model(model: Mapping[str, Any]) -> Lines:
    version = model["model_version"]
    yield (
        f"{model['model_name']} version {version}" if version is not None else f"{model['model_name']}, not registered"
    )
    if model["digest"]:
        yield f"sha256 {model['digest']}"
    if model.get("registered"):
        entry = model["registered"]
        yield f"registered {_when(entry)} by {entry['actor']} (ledger {entry['id']})"
    for answer in model.get("answers") or ():
        reason = f": {answer['payload']['reason']}" if answer["payload"].get("reason") else ""
        yield f"{answer['payload']['outcome']} {_when(answer)} by {answer['actor']} (ledger {answer['id']}){reason}"
    for reign in model.get("champion") or ():
        until = f" until {_time(reign['until'])}" if reign["until"] else ", still is"
        yield f"champion since {_time(reign['since'])}, made so by {reign['by']}{until}"
    yield from _bundle(model["bundle"])
    yield from _run(model.get("mlflow"))


def _bundle(bundle: Mapping[str, Any] | None) -> Lines:
    if bundle is None:
        return
    yield f"bundle: recipe {bundle['recipe']}, profile {bundle['profile']}, packshot {bundle['packshot_version']}"
    yield from _metrics(bundle["metrics"])


def _run(run: Mapping[str, Any] | None) -> Lines:
    if run is None:
        return
    yield f"MLflow run {run['run_id']}, {run['status']}"
    yield from _metrics(run["metrics"])


def _metrics(metrics: Mapping[str, float]) -> Lines:
    names = sorted(metrics)
    for name in names[:_METRICS_SHOWN]:
        yield f"  {name} {metrics[name]:.4g}"
    if len(names) > _METRICS_SHOWN:
        yield f"  and {len(names) - _METRICS_SHOWN} more; see --json"


def _gates(entry: Mapping[str, Any] | None) -> Lines:
    if entry is None:
        return
    decided = entry["payload"]
    against = f"champion {decided['champion']}" if decided.get("champion") is not None else "no champion"
    yield f"{decided['outcome'].replace('_', ' ')} {_when(entry)} against {against} (ledger {entry['id']})"
    for gate in decided.get("gates", ()):
        yield f"{gate['verdict'].replace('_', ' '):20} {gate['metric']} ({gate['kind']}): {gate['message']}"


def _revision(part: Mapping[str, Any], name: str) -> Lines:
    if part[name] is None:
        return
    yield f"revision {part[name]}" + (f", commit {part['commit']}" if part.get("commit") else "")
    for command in part.get("commands", ()):
        yield f"  {command}"


def _code(code: Mapping[str, Any]) -> Lines:
    yield from _revision(code, "code_rev")
    if code["code_rev"] is not None:
        same = "is the same" if code["code_rev"] == code["here"] else f"is another, {code['here']}"
        yield f"the code installed here {same}"


def _checks(checks: Sequence[Mapping[str, Any]]) -> Lines:
    for check in checks:
        yield f"yes  {check['what']}" if check["holds"] else f"NO   {check['what']}: {check['detail']}"


def _when(entry: Mapping[str, Any]) -> str:
    return _time(entry["at"])


def _time(text: str) -> str:
    return text[:16].replace("T", " ")
