"""Drift: found where it is, not called where pictures of a sender are merely alike, counted once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from packshot.config import load_settings
from packshot.drift import twosample
from packshot.drift.alarm import History, Window, cooldown_until, judge_windows
from packshot.drift.check import Reference, check
from packshot.drift.samples import PREDICTIONS, STATISTICS, ReferenceUnusable, VerdictsUnusable
from packshot.drift.summary import in_short, summary
from packshot.home import Home, project_root
from packshot.ops.pipeline import drift_check
from packshot.registry.ledger import Ledger

SETTINGS = load_settings(project_root() / "params.yaml")
RULES = SETTINGS.drift


def images(rng: np.random.Generator, senders: Sequence[int], shift: float = 0.0, own: float = 1.0) -> pd.DataFrame:
    """Rows whose figures are mostly the sender's own; `senders` are numbers of images."""
    rows = []
    for sender, count in enumerate(senders):
        look = rng.normal(0, own, 8) + shift
        for index in range(count):
            vector = look + rng.normal(0, 0.3, 8)
            row = {"path": f"{sender}/{index}.jpg", "image_id": f"{sender}-{index}", "sender": f"s{sender}"}
            row |= {"style": "plain", "category": "chair", "embedding": vector, "style_vector": vector[:3]}
            row |= {name: float(1 / (1 + np.exp(-vector[i % 8]))) for i, name in enumerate(STATISTICS + PREDICTIONS)}
            rows.append(row | {"width": 400.0, "height": 300.0})
    return pd.DataFrame(rows)


def write_batch(path: Path, frame: pd.DataFrame, batch: str, version: int | None = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lineage = {"batch_id": batch, "model_name": "packshot", "model_version": version, "run_id": "r"}
    frame.assign(**lineage).to_parquet(path)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return Home.from_environment()


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    frame = images(np.random.default_rng(1), [9] * 40).assign(group=lambda f: f.sender)
    frame.to_parquet(tmp_path / "reference.parquet")
    return Reference(tmp_path / "reference.parquet", "packshot", 3, "r")


def test_the_same_kind_is_calm_and_another_kind_alarms_at_once(
    tmp_path: Path, home: Home, reference: Reference
) -> None:
    rng = np.random.default_rng(2)
    same = write_batch(tmp_path / "same/verdicts.parquet", images(rng, [6] * 12), "same")
    other = write_batch(tmp_path / "other/verdicts.parquet", images(rng, [6] * 12, shift=2.0), "other")
    calm = check(SETTINGS, same, reference=reference)
    alarm = check(SETTINGS, other, reference=reference)
    assert not calm.alarm and calm.p_value > RULES.alpha and not calm.drifted
    assert alarm.alarm and alarm.p_value <= RULES.strict_alpha
    assert {"brightness", "quality"} <= {row["name"] for row in alarm.drifted}
    assert all(row["effect"] > 0 and row["examples"] for row in alarm.drifted)
    stored = json.loads((tmp_path / "other/drift.json").read_text())
    assert stored["alarm"] is True and stored["p_value"] == alarm.p_value
    page = (tmp_path / "other/drift.html").read_text()
    assert "Alarm" in page and "http" not in page.replace("http-equiv", "")


def test_an_alarm_is_entered_with_its_cost_and_told_once(
    tmp_path: Path, home: Home, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    frame = images(np.random.default_rng(3), [9] * 12, shift=3.0)
    path = tmp_path / "v/verdicts.parquet"
    path.parent.mkdir()
    frame.assign(batch_id="other", model_name="packshot", model_version=None, run_id=None).to_parquet(path)
    for _ in range(2):
        assert drift_check(SETTINGS, path, model=str(tmp_path)).alarm
    entries = [entry for entry in Ledger.from_environment().history() if entry["kind"] == "drift"]
    assert [entry["payload"]["alarm"] for entry in entries] == [True, True]
    assert all(entry["payload"]["cost"]["wall_s"] > 0 for entry in entries)
    told = capsys.readouterr().err
    assert told.count("drift in batch other") == 1 and str(tmp_path / "v/drift.html") in told


def test_an_alarm_always_names_what_it_is_for(
    tmp_path: Path, home: Home, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    drifted = write_batch(tmp_path / "j/verdicts.parquet", images(np.random.default_rng(2), [6] * 12, shift=2.0), "j")
    found = check(SETTINGS, drifted, reference=reference)
    lines = summary(found).splitlines()
    assert lines[0].startswith("ALARM: batch j, 72 pictures against ") and len(lines) <= 12
    assert f"{in_short(found.drifted[:1])}" in found.reason and "limit 0.05" in lines[2] and ", was " in lines[2]
    # the same shift, where none of the figures by itself is beyond chance: the pictures differ as a whole
    monkeypatch.setattr("packshot.drift.check.SIGNIFICANT", -1.0)
    as_a_whole = check(SETTINGS, drifted, reference=reference)
    assert as_a_whole.alarm and as_a_whole.drifted and {row["kind"] for row in as_a_whole.drifted} == {"view"}
    assert all(row["effect"] > 0 and row["examples"] for row in as_a_whole.drifted)
    furthest = max(as_a_whole.views.values(), key=lambda view: view["z"])
    assert as_a_whole.drifted[0]["effect"] == furthest["z"]
    assert "what drifted: " in as_a_whole.reason and "limit 0.01" in summary(as_a_whole)
    assert "what drifted" in as_a_whole.report_path.read_text()


def test_a_batch_within_the_limits_names_nothing(tmp_path: Path, home: Home, reference: Reference) -> None:
    calm = check(
        SETTINGS,
        write_batch(tmp_path / "k/v.parquet", images(np.random.default_rng(2), [6] * 12), "k"),
        reference=reference,
    )
    assert calm.drifted == [] and "what drifted" not in calm.reason
    assert len(summary(calm).splitlines()) == 3 and summary(calm).startswith("no alarm: batch k")


def test_the_command_says_in_short_what_drifted_and_everything_on_request(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from packshot.cli import app

    (tmp_path / "bundle.json").write_text("{}")
    images(np.random.default_rng(1), [9] * 40).assign(group=lambda f: f.sender).to_parquet(
        tmp_path / "reference.parquet"
    )
    frame = images(np.random.default_rng(3), [9] * 12, shift=3.0)
    path = tmp_path / "v/verdicts.parquet"
    path.parent.mkdir()
    frame.assign(batch_id="other", model_name="packshot", model_version=None, run_id=None).to_parquet(path)
    monkeypatch.setenv("PACKSHOT_RESULT", str(tmp_path / "result.json"))
    asked = ["drift", "--verdicts", str(path), "--model", str(tmp_path), "--fail-on-alarm"]
    short = CliRunner().invoke(app, asked)
    assert short.exit_code == 5 and short.stdout.startswith("ALARM: batch other") and len(short.stdout) < 2000
    stored = json.loads((path.parent / "drift.json").read_text())
    assert json.loads((tmp_path / "result.json").read_text()) == stored
    whole = CliRunner().invoke(app, [*asked, "--json"])
    assert json.loads(whole.stdout) == stored


def test_checking_again_gives_the_same_and_adds_no_window(tmp_path: Path, home: Home, reference: Reference) -> None:
    batch = write_batch(tmp_path / "b/verdicts.parquet", images(np.random.default_rng(3), [6] * 12), "b")
    first, second = (check(SETTINGS, batch, reference=reference).as_record() for _ in range(2))
    assert first == second
    assert len((home.drift / "v3.jsonl").read_text().splitlines()) == 1


def test_a_batch_without_senders_alarms_only_beyond_every_single_sender(
    tmp_path: Path, home: Home, reference: Reference
) -> None:
    rng = np.random.default_rng(4)
    one_sender = images(rng, [60]).assign(sender=None)
    foreign = images(rng, [1] * 60, shift=5.0).assign(sender=None)
    calm = check(SETTINGS, write_batch(tmp_path / "c/v.parquet", one_sender, "c"), reference=reference)
    alarm = check(SETTINGS, write_batch(tmp_path / "d/v.parquet", foreign, "d"), reference=reference)
    assert not calm.alarm and "unknown" in calm.null
    assert alarm.alarm


def test_a_batch_of_one_known_sender_alarms_only_beyond_every_single_sender(
    tmp_path: Path, home: Home, reference: Reference
) -> None:
    rng = np.random.default_rng(7)
    for name, shift, alarm in (("usual", 0.0, False), ("foreign", 9.0, True)):
        batch = write_batch(tmp_path / name / "v.parquet", images(rng, [50], shift), name)
        found = check(SETTINGS, batch, reference=reference)
        assert found.alarm is alarm and "one sender alone" in found.null


def test_what_cannot_be_tested_says_so(tmp_path: Path, home: Home, reference: Reference) -> None:
    rng = np.random.default_rng(5)
    few = check(SETTINGS, write_batch(tmp_path / "e/v.parquet", images(rng, [3, 2]), "e"), reference=reference)
    assert not few.alarm and few.p_value is None and few.reason.startswith("not enough images")
    empty = Reference(tmp_path / "empty.parquet", "packshot", 3, "r")
    pd.read_parquet(reference.path).iloc[:0].to_parquet(empty.path)
    batch = write_batch(tmp_path / "g/v.parquet", images(rng, [3] * 10), "g")
    with pytest.raises(ReferenceUnusable, match="no usable rows"):
        check(SETTINGS, batch, reference=empty)
    with pytest.raises(VerdictsUnusable, match="scored by version 4"):
        check(SETTINGS, write_batch(tmp_path / "h/v.parquet", images(rng, [3] * 10), "h", 4), reference=reference)


def test_rows_with_errors_do_not_count(tmp_path: Path, home: Home, reference: Reference) -> None:
    frame = images(np.random.default_rng(6), [6] * 10)
    frame.loc[:4, ["quality", "embedding"]] = None
    result = check(SETTINGS, write_batch(tmp_path / "i/v.parquet", frame, "i"), reference=reference)
    assert result.n_batch == 55


def test_alike_pictures_of_one_sender_are_no_drift_but_a_naive_test_says_so() -> None:
    rng = np.random.default_rng(7)
    p_grouped, p_naive = [], []
    for _ in range(60):
        frame = images(rng, [10] * 30)
        values = np.vstack(frame.embedding)
        groups = np.repeat(np.arange(30), 10)
        matrix = twosample.distances(values)
        grouped = twosample.between_groups(matrix, groups)
        p_grouped.append(twosample.joint_test({"e": grouped}, twosample.permuted_groups(6, 24, 199, rng)).p_value)
        p_naive.append(twosample.joint_test({"e": matrix}, twosample.permuted_groups(60, 240, 199, rng)).p_value)
    assert np.mean(np.asarray(p_grouped) <= 0.05) <= 0.15
    assert np.mean(np.asarray(p_naive) <= 0.05) >= 0.9


def test_energy_distance_is_the_one_of_the_definition() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(0, 1, (7, 3)), rng.normal(1, 1, (9, 3))
    sides = twosample.permuted_groups(7, 9, 3, rng)
    got = twosample.energy(twosample.distances(np.vstack([x, y])), sides)[0]

    def mean(a: np.ndarray, b: np.ndarray, pairs: int) -> float:
        return sum(float(np.linalg.norm(p - q)) for p in a for q in b) / pairs

    assert got == pytest.approx(2 * mean(x, y, 63) - mean(x, x, 42) - mean(y, y, 72))


def test_holm() -> None:
    assert twosample.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "p", "alarm"),
    [
        ([], 0.009, False),
        ([0.009], 0.009, True),
        ([0.009, 0.5, 0.5, 0.5], 0.009, True),
        ([0.009, 0.5, 0.5, 0.5, 0.5], 0.009, False),
        ([0.009, 0.009], 0.5, False),
        ([0.009, None, None, None, None], 0.009, True),
        ([], 0.002, True),
        ([0.001], None, False),
    ],
)
def test_alarm_rule(before: list[float | None], p: float | None, alarm: bool) -> None:
    windows = [Window(str(i), value, False, NOW.isoformat()) for i, value in enumerate(before)]
    assert judge_windows(p, windows, RULES, NOW).alarm is alarm


def started(hours_ago: float) -> list[Window]:
    return [Window("a", 0.001, True, NOW.isoformat(), (NOW - timedelta(hours=hours_ago)).isoformat())]


def test_a_training_that_an_alarm_started_holds_back_the_next_one_for_the_cooldown() -> None:
    assert judge_windows(0.001, started(1), RULES, NOW).in_cooldown
    assert not judge_windows(0.001, started(RULES.cooldown_hours), RULES, NOW).in_cooldown
    unanswered = [Window("a", 0.001, True, NOW.isoformat())]
    assert not judge_windows(0.001, unanswered, RULES, NOW).in_cooldown


def test_a_clock_that_was_set_back_leaves_no_cooldown_behind() -> None:
    assert cooldown_until(started(-1000), RULES, NOW) is None
    assert cooldown_until([*started(-1000), *started(1)], RULES, NOW) == NOW + timedelta(hours=RULES.cooldown_hours - 1)


def test_a_window_with_a_broken_time_is_passed_over(tmp_path: Path) -> None:
    history = History(tmp_path / "v3.jsonl")
    good = Window("good", 0.5, False, NOW.isoformat())
    history.put(good)
    with history.path.open("a") as lines:
        for at in ("yesterday", "2026-01-01T00:00:00"):
            lines.write(json.dumps({"batch_id": at, "p_value": 0.5, "alarm": True, "checked_at": at}) + "\n")
    assert history.windows() == [good]


def test_a_batch_of_one_is_not_tested(tmp_path: Path, home: Home, reference: Reference) -> None:
    one = check(
        SETTINGS, write_batch(tmp_path / "j/v.parquet", images(np.random.default_rng(9), [1]), "j"), reference=reference
    )
    assert not one.alarm and one.p_value is None and "1 usable" in one.reason
