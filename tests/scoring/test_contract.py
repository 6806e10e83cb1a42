"""A verdict is a contract: one shape in Parquet, JSON and Python, in which every question has an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sample_batch import BrightnessJudge, Judged, picture, save, scorer
from sample_verdicts import broken, finding, verdict, write_verdicts
from typer.testing import CliRunner

from packshot.cli import app
from packshot.config import RuleBound, Settings, load_settings
from packshot.exports.source import open_verdicts
from packshot.faults.detector import Found
from packshot.faults.kinds import KINDS
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.scoring.checks import Mending, checks_of, rule_checks
from packshot.scoring.contract import (
    SCHEMA_FILE,
    SCHEMA_VERSION,
    Check,
    SchemaUnknown,
    Verdict,
    Where,
    box,
    json_schema,
)
from packshot.scoring.decisions import Enhanced, Scores
from packshot.scoring.rules import RULES, Finding
from packshot.scoring.verdicts import VERDICT_SCHEMA

SETTINGS = load_settings(project_root() / "params.yaml")
SCORES = {"quality": 0.3, "quality_low": 0.25, "quality_high": 0.35, "sharpness": 0.8, "colour_balance": 0.4}


@pytest.fixture
def settings() -> Settings:
    bounds = {"shard_size": 4, "accept_at": 0.6, "reject_below": 0.35, "review_width": 0.5, "min_gain": 0.01}
    bounds |= {"max_enhanced_shift": 0.35, "attribute_floor": 0.5, "thresholds": "fixed"}
    return SETTINGS.model_copy(update={"scoring": SETTINGS.scoring.model_copy(update=bounds)})


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))


def rows_in(out: Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in pq.read_table(out / "verdicts.parquet").to_pylist()}


def of_kind(kind: str, verdict: Verdict) -> dict[str, Check]:
    return by_name([check for check in verdict.checks if check.kind == kind])


def by_name(checks: tuple[Check, ...] | list[Check]) -> dict[str, Check]:
    named = {check.rule: check for check in checks}
    assert len(named) == len(checks)
    return named


def test_the_published_schema_is_that_of_the_code() -> None:
    published = (project_root() / SCHEMA_FILE).read_text(encoding="utf-8")
    assert published == json_schema(), "run `packshot verdict-schema --write`"


def test_the_command_writes_the_schema_once(tmp_path: Path) -> None:
    call = ["verdict-schema", "--write", "--workspace", str(tmp_path)]
    assert CliRunner().invoke(app, call).exit_code == 0
    assert (tmp_path / SCHEMA_FILE).read_text() == CliRunner().invoke(app, ["verdict-schema"]).stdout
    assert CliRunner().invoke(app, call).exit_code == 99


def test_every_field_of_a_verdict_is_a_column() -> None:
    assert set(Verdict.model_fields) <= set(VERDICT_SCHEMA.names)
    told = {field.name: field for field in VERDICT_SCHEMA.field("checks").type.value_type}
    assert list(told) == list(Check.model_fields)
    assert {name for name, field in told.items() if not field.nullable} == {"kind", "rule", "status"}


def test_the_contract_needs_no_model_and_no_image_library() -> None:
    code = (
        "import sys, packshot.scoring.contract; print(sorted({'torch', 'cv2', 'mlflow', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_question_of_a_batch_has_an_answer(tmp_path: Path, settings: Settings) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "good.png", picture(200))
    save(folder / "small.png", picture(120))
    (folder / "text.jpg").write_text("not a picture")
    score(settings, folder, out, scorer=scorer())
    rows = rows_in(out)
    profile = settings.scoring.profiles[settings.scoring.profile]
    for row in rows.values():
        told = Verdict.from_row(row)
        assert row["schema_version"] == told.schema_version == SCHEMA_VERSION
        assert [check.rule for check in told.checks if check.kind == "rule"] == list(profile)
        failed = {check.rule for check in told.failed()}
        assert failed >= {one["rule"] for one in row["findings"] or ()}
        assert Verdict.model_validate_json(told.model_dump_json()) == told
    unread = Verdict.from_row(rows["text.jpg"])
    assert {(check.status, check.why) for check in unread.checks} == {("not_checked", rows["text.jpg"]["error"])}
    small = by_name(Verdict.from_row(rows["small.png"]).checks)["longest_side"]
    assert (small.status, small.measured, small.required, small.bound) == ("failed", 64, 100, "least")
    assert (small.unit, small.severity) == ("pixels", "note")
    assert small.advice == "The picture is too small; upload one whose longer side has at least 100 pixels."
    ground = by_name(Verdict.from_row(rows["good.png"]).checks)["products"]
    assert (ground.status, ground.why) == ("not_checked", RULES["products"].unmeasured)


def test_a_check_says_whether_enhancing_mended_it(tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "in"
    for name, level in (("dim.png", 100), ("bright.png", 200), ("black.png", 20)):
        save(folder / name, picture(level))
    score(settings, folder, tmp_path / "out", scorer=scorer(BrightnessJudge()))
    told = {path: Verdict.from_row(row) for path, row in rows_in(tmp_path / "out").items()}
    decisions = {path: one.decision for path, one in told.items()}
    assert decisions == {"dim.png": "enhance", "bright.png": "accept", "black.png": "reject"}
    dim, bright, black = (by_name(told[path].checks) for path in ("dim.png", "bright.png", "black.png"))
    assert dim["low_quality"].done == "not_fixed" and dim["low_colour_balance"].done == "not_fixed"
    assert bright["low_quality"].done is None and bright["low_colour_balance"].done == "not_tried"
    assert black["dark"].done == "not_fixed"
    assert dim["noise"].status == bright["noise"].status == "failed"
    assert (dim["noise"].done, bright["noise"].done) == ("not_fixed", "not_tried")


def row_of(**more: Any) -> dict[str, Any]:
    measures = {"dark": 0.2, "noise": 9.0, "longest_side": 400.0}
    row = {"path": "a.png", "error": None, "measures": measures, "decision": "enhance", "detail": 0.9}
    return row | SCORES | {"enhanced_path": "enhanced/a.png"} | more


def test_what_the_enhanced_picture_still_breaks_is_not_fixed(settings: Settings) -> None:
    found = [Finding(rule, value, 1.0, "note", "told") for rule, value in (("dark", 0.2), ("noise", 9.0))]
    enhanced = Enhanced(Scores(0.7, 0.6, 0.8, 0.8, 0.8, 0.8), 0.9, 1.0, (found[1],))
    checks = by_name(checks_of(row_of(), settings.scoring, found, Mending(True, enhanced)))
    done = {name: checks[name].done for name in ("dark", "noise", "low_quality", "low_colour_balance")}
    assert done == {"dark": "fixed", "noise": "not_fixed", "low_quality": "fixed", "low_colour_balance": "fixed"}
    refused = by_name(checks_of(row_of(enhanced_path=None), settings.scoring, found, Mending(True, enhanced)))
    assert refused["dark"].done == refused["low_quality"].done == "not_fixed"


def test_a_value_that_is_no_number_is_never_a_pass(settings: Settings) -> None:
    checks = rule_checks({"dark": float("nan")}, {"dark": RuleBound(threshold=0.3, effect="reject")}, ())
    assert [(check.status, check.measured) for check in checks] == [("not_checked", None)]
    scores = by_name(checks_of(row_of(quality=float("nan"), detail=None), settings.scoring))
    assert scores["low_quality"].status == scores["low_detail"].status == "not_checked"


def test_faults_are_checks_with_strength_and_advice(settings: Settings) -> None:
    fault = {"probability": 0.9, "strength": 2.1, "unit": "px", "present": True, "outcome": "fixed"}
    faults = [{"fault": "cast", **fault}, {"fault": "compression", **fault, "outcome": "not_tried"}]
    faults += [{"fault": "dark", **fault, "present": False, "outcome": "none"}]
    faults += [{"fault": "noise", **fault, "probability": float("nan")}]
    checks = checks_of(row_of(faults=faults), settings.scoring)
    told = [check for check in checks if check.kind == "fault"]
    lasting = "enhance" if KINDS["compression"].mendable else "review"
    assert [(check.rule, check.status, check.severity, check.done, check.measured) for check in told] == [
        ("cast", "failed", "enhance", "fixed", 2.1),
        ("compression", "failed", lasting, "not_tried", 2.1),
        ("dark", "passed", "enhance", None, None),
        ("noise", "not_checked", "enhance", None, None),
    ]
    assert (told[0].unit, told[0].probability) == ("px", 0.9) and "white balance" in str(told[0].advice)
    assert [check.severity for check in checks if check.rule == "uncertain"] == ["note"]


def test_a_box_lies_in_the_picture() -> None:
    assert box((0.1, -0.2, 0.5, 1.3)) == Where(x0=0.1, y0=0, x1=0.5, y1=1)
    with pytest.raises(ValidationError, match="left to right"):
        Where(x0=0.5, y0=0, x1=0.1, y1=1)


@pytest.mark.parametrize("more", [{"status": "not_checked"}, {"status": "passed", "why": "no"}])
def test_what_was_not_checked_says_why_and_nothing_else_does(more: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError, match="why"):
        Check.model_validate({"kind": "rule", "rule": "dark", **more})


class DarkJudge(BrightnessJudge):
    """Calls pictures dark below a mean of 120."""

    def _one(self, image: np.ndarray) -> Judged:
        dark = Found("dark", 0.95, 1.0, 0.01 if image.mean() < 120 else 0.9)
        return replace(super()._one(image), faults=(dark,))


@pytest.mark.parametrize("judge", [BrightnessJudge, DarkJudge])
def test_a_copy_met_later_fails_its_check(
    tmp_path: Path, settings: Settings, judge: Callable[[], BrightnessJudge]
) -> None:
    rules = {"exact_duplicate": RuleBound(threshold=0, effect="review")}
    rules |= {"laid_over": RuleBound(threshold=1, effect="note")}  # drawn patterns may look like something laid over
    profile = settings.scoring.profiles["own"] | rules
    update = {"profiles": {**settings.scoring.profiles, "own": profile}}
    strict = settings.model_copy(update={"scoring": settings.scoring.model_copy(update=update)})
    folder = tmp_path / "in"
    for number in range(6):
        save(folder / f"{number}.png", picture(100, number))
    shutil.copy(folder / "4.png", folder / "5.png")
    (folder / "catalog.csv").write_text("path,sku\n" + "".join(f"{n}.png,{min(n, 4)}\n" for n in range(6)))
    score(strict, folder, tmp_path / "out", scorer=scorer(judge()))
    rows = rows_in(tmp_path / "out")
    told = {path: Verdict.from_row(row) for path, row in rows.items()}
    copies = [one for one in told.values() if one.duplicate_of]
    assert len(copies) == 1 and copies[0].decision == "review" and copies[0].enhanced_path is None
    check = of_kind("rule", copies[0])["exact_duplicate"]
    assert (check.status, check.measured, check.severity, check.done) == ("failed", 1, "review", "not_tried")
    assert "fixed" not in {check.done for check in copies[0].checks}
    assert not [reason for reason in copies[0].reasons if reason.endswith(", fixed")]
    assert "fixed" not in {fault["outcome"] for fault in rows[copies[0].path]["faults"] or ()}
    fixed = {"fixed"} if judge is DarkJudge else set()
    for path, one in told.items():
        if path != copies[0].path:
            assert of_kind("rule", one)["exact_duplicate"].status == "passed"
            assert one.decision == "enhance"
            assert {check.done for check in of_kind("fault", one).values()} == fixed


def test_verdicts_of_before_there_were_checks_are_read(tmp_path: Path) -> None:
    poor = verdict("a.jpg", "review", 0.4, reasons=["low_quality: 0.40 is below 0.60"], sku="A")
    poor |= {"findings": [finding("fill", "Move closer.")], "measures": [("fill", 0.4), ("noise", 1.0)]}
    folder = write_verdicts(tmp_path / "old", [poor, broken("b.jpg"), verdict("c.jpg")])
    table = pq.read_table(folder / "verdicts.parquet").drop_columns(["checks", "schema_version"])
    pq.write_table(table, folder / "verdicts.parquet")
    (file,) = open_verdicts([folder])
    a, b, c = (Verdict.from_row(row) for row in file.each([*Verdict.model_fields, "findings", "measures"]))
    assert {check.rule: check.status for check in a.checks} == {
        "fill": "failed",
        "noise": "passed",
        "low_quality": "failed",
        "low_sharpness": "passed",
        "low_colour_balance": "passed",
        "low_detail": "passed",
    }
    assert (a.sku, a.checks[0].advice, a.checks[0].severity) == ("A", "Move closer.", "review")
    assert {check.status for check in b.checks} == {"not_checked"} and b.checks[0].why == b.error
    assert c.checks[0].status == "not_checked" and "without the catalogue rules" in str(c.checks[0].why)


def test_a_verdict_of_another_major_version_is_refused() -> None:
    with pytest.raises(SchemaUnknown, match=r"2\.0"):
        Verdict.from_row({"path": "a.jpg", "decision": "accept", "schema_version": "2.0"})
    minor = {"path": "a.jpg", "decision": "accept", "schema_version": "1.9", "checks": [], "new_column": 1}
    assert Verdict.from_row(minor).schema_version == SCHEMA_VERSION


def test_every_rule_says_its_unit() -> None:
    assert [name for name, rule in RULES.items() if not rule.unit] == []


def test_why_gives_the_contract_and_a_page_of_it(tmp_path: Path) -> None:
    passed = Check(kind="rule", rule="noise", status="passed", measured=1.0)
    dark = Check(kind="fault", rule="dark", status="failed", measured=1.2, done="fixed")
    unasked = [Check(kind="rule", rule=rule, status="not_checked", why="no ground") for rule in ("fill", "products")]
    checks = [check.model_dump() for check in (passed, dark, *unasked)]
    folder = write_verdicts(tmp_path / "v", [verdict("a.jpg", checks=checks)], version=None)
    call = ["why", "a.jpg", "--verdicts", str(folder)]
    said = CliRunner().invoke(app, [*call, "--json"])
    assert said.exit_code == 0, said.output
    told = Verdict.model_validate(json.loads(said.stdout.splitlines()[-1])["verdict"])
    assert (told.path, told.decision, told.quality, told.checks[1]) == ("a.jpg", "accept", 0.7, dark)
    shown = CliRunner().invoke(app, call).stdout
    assert "1 passed, 1 failed, 2 not checked" in shown and "not checked, no ground: fill, products" in shown
    assert "dark: failed, fixed in the enhanced picture" in shown


def test_a_score_out_of_its_range_is_no_verdict() -> None:
    with pytest.raises(ValidationError):
        Verdict(path="a.jpg", decision="accept", quality=float(np.nextafter(1, 2)))
