"""What marketplaces would hold against a picture, in their own shapes, also where another profile was in force."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sample_verdicts import broken, verdict, write_verdicts
from typer.testing import CliRunner

from packshot.cli import app
from packshot.config import RuleBound, ScoringSettings, load_settings
from packshot.exports.amazon import amazon_shape
from packshot.exports.google import google_shape
from packshot.exports.issues import UnknownProfile, write_issues
from packshot.exports.source import open_verdicts
from packshot.home import project_root
from packshot.scoring.checks import Mending, checks_of
from packshot.scoring.decisions import Enhanced, Scores
from packshot.scoring.rules import findings

SCORING = load_settings(project_root() / "params.yaml").scoring
GOOD = Scores(0.9, 0.8, 1.0, 0.9, 0.9, 0.9)
CLEAN = {
    "white_ground": 1.0,
    "fill": 0.85,
    "overfill": 0.85,
    "border": 0.0,
    "framed": 0.0,
    "overlay": 0.0,
    "banner": 0.0,
}
CLEAN |= {"products": 1.0, "file_size": 0.4, "low_information": 0.5, "dark": 0.99, "light": 0.1, "clipped": 0.0}
CLEAN |= {"laid_over": 0.01, "blur": 0.6, "noise": 1.0, "compression": 0.0, "colour_cast": 0.0, "greyscale": 90.0}
CLEAN |= {"shortest_side": 900.0, "longest_side": 1000.0, "megapixels": 0.9, "format": 1.0, "aspect": 1.1}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))


def scored_with(profile: str, path: str = "a.jpg", without: tuple[str, ...] = (), **values: float) -> dict[str, Any]:
    """A row as the engine writes it for a picture of these measures."""
    scoring = SCORING.model_copy(update={"profile": profile})
    rules = scoring.profiles[profile]
    measures = {name: value for name, value in (CLEAN | values).items() if name in rules and name not in without}
    found = findings(measures, rules)
    row = verdict(path, quality=0.8, sku="S1", profile=profile, measures=measures, error=None, width=1000, height=900)
    row["checks"] = [check.model_dump() for check in checks_of(row, scoring, found)]
    return row | {"findings": [asdict(one) for one in found], "measures": list(measures.items())}


def lines_of(folder: Path, rows: list[dict[str, Any]], market: str, **options: Any) -> list[dict[str, Any]]:
    shape = google_shape() if market == "google" else amazon_shape
    profile = {"google": "google-merchant", "amazon": "amazon-main"}[market]
    files = open_verdicts([write_verdicts(folder / "v", rows)])
    write_issues(options.get("scoring", SCORING), files, folder / "out.jsonl", options.get("profile", profile), shape)
    return [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]


def test_google_gets_its_issues_with_the_page_that_asks(tmp_path: Path) -> None:
    rows = [scored_with("google-merchant", overlay=12.0, fill=0.3, blur=3.0), scored_with("google-merchant", "b.jpg")]
    first, second = lines_of(tmp_path, rows, "google")
    assert (first["path"], first["sku"], first["profile"], first["scored_with"]) == (
        *("a.jpg", "S1"),
        *("google-merchant", "google-merchant"),
    )
    assert second["issues"] == second["not_checked"] == []
    issues = {issue["code"]: issue for issue in first["issues"]}
    assert set(issues) == {"image_unwanted_overlays", "packshot_fill", "packshot_blur"}
    text = issues["image_unwanted_overlays"]
    address = "https://support.google.com/merchants/answer/6324350"
    assert {name: text[name] for name in ("severity", "attribute", "destination", "resolution", "documentation")} == {
        "severity": "DISAPPROVED",
        "attribute": "image link",
        "destination": "SHOPPING_ADS",
        "resolution": "merchant_action",
        "documentation": address,
    }
    assert text["detail"].startswith("12 letters or marks lie over the ground")
    assert text["requirement"]["asks"] == text["description"] == "no promotional text or watermark"
    assert text["requirement"]["read"] == "2026-11-23" and text["check"]["measured"] == 12
    assert issues["packshot_fill"]["severity"] == issues["packshot_blur"]["severity"] == "NOT_IMPACTED"
    assert issues["packshot_blur"]["documentation"] is None


def test_amazon_gets_its_issues_with_what_they_lead_to(tmp_path: Path) -> None:
    values = {"white_ground": 0.1, "longest_side": 400.0, "fill": 0.3, "blur": 3.0, "file_size": 30.0}
    (line,) = lines_of(tmp_path, [scored_with("amazon-main", **values)], "amazon")
    told = {issue["code"]: (issue["severity"], issue["enforcements"]["actions"]) for issue in line["issues"]}
    assert told == {
        "white_ground": ("ERROR", [{"action": "SEARCH_SUPPRESSED"}]),
        "longest_side": ("ERROR", [{"action": "ATTRIBUTE_SUPPRESSED"}]),
        "file_size": ("ERROR", []),
        "fill": ("WARNING", []),
        "blur": ("INFO", []),
    }
    issue = line["issues"][0]
    assert issue["attributeNames"] == ["main_product_image_locator"] and issue["categories"] == ["INVALID_IMAGE"]
    assert all(one["message"] for one in line["issues"])


def test_another_profile_is_asked_by_what_was_measured_then(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, [scored_with("own", overlay=12.0, dark=0.5, width=60.0)], "google")
    assert {issue["check"]["rule"] for issue in line["issues"]} == {"overlay", "dark"}
    skipped = {one["rule"]: one["why"] for one in line["not_checked"]}
    assert set(skipped) == {"white_ground", "fill", "overfill", "file_size"}
    assert "scored with own; score it with --profile google-merchant" in skipped["fill"]


def test_width_height_and_format_are_known_without_being_measured(tmp_path: Path) -> None:
    row = scored_with("own") | {"width": 90, "height": 2000, "format": "WEBP"}
    (line,) = lines_of(tmp_path, [row], "google")
    assert [issue["code"] for issue in line["issues"]] == ["image_too_small"]
    assert line["issues"][0]["check"]["measured"] == 90
    (line,) = lines_of(tmp_path / "a", [row], "amazon")
    assert {issue["code"] for issue in line["issues"]} == {"format"}


def test_what_meant_nothing_for_the_picture_keeps_its_reason(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, [scored_with("own", without=("products",))], "google")
    skipped = {one["rule"]: one["why"] for one in line["not_checked"]}
    assert skipped["products"] == "nothing stands on a plain ground"


def test_a_first_look_is_no_evidence_under_a_harder_bound(tmp_path: Path) -> None:
    harder = SCORING.profiles["google-merchant"] | {"overlay": RuleBound(threshold=0.5, effect="reject")}
    scoring = SCORING.model_copy(update={"profiles": {**SCORING.profiles, "strict": harder}})
    rows = [scored_with("own", "a.jpg", overlay=2.0), scored_with("own", "b.jpg", overlay=3.0)]
    first, second = lines_of(tmp_path, rows, "google", scoring=scoring, profile="strict")
    assert "rougher look" in {one["rule"]: one["why"] for one in first["not_checked"]}["overlay"]
    assert [issue["check"]["rule"] for issue in second["issues"]] == ["overlay"]


def test_what_the_enhanced_picture_mends_is_no_issue(tmp_path: Path) -> None:
    row = scored_with("google-merchant", dark=0.4, noise=9.0) | {"decision": "enhance", "enhanced_path": "e/a.jpg"}
    scoring = SCORING.model_copy(update={"profile": "google-merchant"})
    rules = scoring.profiles["google-merchant"]
    measures = dict(row["measures"])
    still = [one for one in findings(measures, rules) if one.rule == "noise"]
    mending = Mending(True, Enhanced(GOOD, 1.0, 0.0, tuple(still)))
    told = checks_of(row | {"measures": measures}, scoring, findings(measures, rules), mending)
    (line,) = lines_of(tmp_path, [row | {"checks": [check.model_dump() for check in told]}], "google")
    assert [issue["check"]["rule"] for issue in line["issues"]] == ["noise"]
    assert line["enhanced_path"] == "e/a.jpg"


def test_a_file_that_nobody_can_read_is_an_issue_and_one_that_we_refuse_is_not(tmp_path: Path) -> None:
    slow = "decoder_timeout: it took longer than 60 s"
    rows = [broken("a.jpg"), broken("b.jpg", error=slow, reasons=[slow])]
    first, second = lines_of(tmp_path, rows, "google")
    assert [(issue["code"], issue["severity"]) for issue in first["issues"]] == [
        ("image_decoding_error", "DISAPPROVED")
    ]
    assert second["issues"] == []
    assert {one["why"] for one in second["not_checked"]} == {slow}
    assert len(second["not_checked"]) == len(SCORING.profiles["google-merchant"])
    (amazon, _) = lines_of(tmp_path / "a", rows, "amazon")
    assert amazon["issues"][0]["enforcements"]["actions"] == [{"action": "ATTRIBUTE_SUPPRESSED"}]


def test_older_verdicts_are_asked_too(tmp_path: Path) -> None:
    row = scored_with("own", overlay=12.0, without=("blur",)) | {"checks": None}
    (line,) = lines_of(tmp_path, [row], "google")
    assert [issue["code"] for issue in line["issues"]] == ["image_unwanted_overlays"]
    skipped = {one["rule"]: one["why"] for one in line["not_checked"]}
    assert skipped["blur"] == "the picture has too few edges" and "was not asked" in skipped["fill"]


@pytest.mark.parametrize("market", ["google", "amazon"])
def test_the_commands_write_a_line_for_each_picture(tmp_path: Path, market: str) -> None:
    folder = write_verdicts(tmp_path / "v", [scored_with("own"), broken("b.jpg")], version=None)
    out = tmp_path / "issues.jsonl"
    done = CliRunner().invoke(app, ["export", market, "--verdicts", str(folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["pictures"], said["with_issues"]) == (2, 1)
    assert [json.loads(line)["path"] for line in out.read_text().splitlines()] == ["a.jpg", "b.jpg"]


def test_a_profile_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownProfile, match="amazon-main, google-merchant"):
        lines_of(tmp_path, [scored_with("own")], "google", profile="ebay")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_source_that_is_not_listed_is_an_error() -> None:
    record = SCORING.model_dump()
    record["profiles"]["own"]["blur"] |= {"source": "nowhere", "asks": "sharp"}
    with pytest.raises(ValidationError, match="nowhere"):
        ScoringSettings.model_validate(record)
    with pytest.raises(ValidationError, match="stand together"):
        RuleBound(threshold=1, effect="note", source="google-image-link")


def test_the_tables_of_rules_and_requirements_are_those_of_the_settings() -> None:
    document = (project_root() / "docs" / "catalogue-rules.md").read_text(encoding="utf-8")
    cells = (line.strip("|").split("|") for line in document.splitlines() if line.startswith("| `"))
    table = {row[0].strip(" `"): [cell.strip() for cell in row[3:6]] for row in cells if len(row) == 6}
    marks = {"own": "", "amazon-main": " [A]", "google-merchant": " [G]"}
    for profile, place in zip(marks, range(3), strict=True):
        bounds = SCORING.profiles[profile]
        told = {rule: cell[place] for rule, cell in table.items() if cell[place]}
        mark = marks[profile]
        assert told == {
            rule: f"{bound.threshold:g} {bound.effect}{mark if bound.source else ''}" for rule, bound in bounds.items()
        }
        for rule, bound in bounds.items():
            if bound.source is not None:
                assert f"| `{profile}` | `{rule}` | {bound.asks} | `{bound.source}` |" in document
    for name, source in SCORING.sources.items():
        assert f"| `{name}` | {source.title} | {source.address} | {source.read} |" in document
