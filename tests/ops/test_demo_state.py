"""When a second demo may say that nothing has changed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from packshot.config import load_settings
from packshot.home import Home
from packshot.ops.demo_state import DemoState, figures, load_state, save_state, stamp

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished demo in a project and home of its own, with champion 3."""
    project, mirror = tmp_path / "project", tmp_path / "mirror"
    for name in ("dags/intake.py", "params.yaml", "dvc.yaml", "data/sources.yaml"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, project / name)
    (mirror / "set").mkdir(parents=True)
    (mirror / "set" / "labels.csv").write_text("file\n")
    monkeypatch.setenv("PACKSHOT_PROJECT", str(project))
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PACKSHOT_MIRROR", str(mirror))
    monkeypatch.setattr("packshot.registry.alias_check.alias_version", lambda settings, alias: 3)
    home = Home.from_environment()
    for path in (
        project / "reports/latest/index.html",
        project / "reports/latest/metrics.json",
        home.verdicts / "same-1/v3/verdicts.parquet",
        home.verdicts / "same-1/v3/drift.json",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    save_state(home, DemoState(stamp(load_settings()), 3, 4, ("same-1",), {}))
    return home


def is_current(home):
    return load_state(home).is_current(load_settings(), home)


def test_nothing_changed_is_current(finished):
    assert is_current(finished)


def change_mirror(home):
    (Path(os.environ["PACKSHOT_MIRROR"]) / "set" / "new.jpg").touch()


def change_params(home):
    os.environ["PACKSHOT__SPLITS__SEED"] = "99"


def change_dags(home):
    (Path(os.environ["PACKSHOT_PROJECT"]) / "dags" / "intake.py").write_text("")


def lose_verdicts(home):
    (home.verdicts / "same-1/v3/verdicts.parquet").unlink()


def lose_report(home):
    (Path(os.environ["PACKSHOT_PROJECT"]) / "reports/latest/index.html").unlink()


@pytest.mark.parametrize("change", [change_mirror, change_params, change_dags, lose_verdicts, lose_report])
def test_any_change_means_work(finished, change, monkeypatch):
    monkeypatch.setenv("PACKSHOT__SPLITS__SEED", "17")
    monkeypatch.delenv("PACKSHOT_SOURCE", raising=False)
    save_state(finished, DemoState(stamp(load_settings()), 3, 4, ("same-1",), {}))
    assert is_current(finished)
    change(finished)
    assert not is_current(finished)


def test_another_champion_means_work(finished, monkeypatch):
    monkeypatch.setattr("packshot.registry.alias_check.alias_version", lambda settings, alias: 2)
    assert not is_current(finished)


def test_a_damaged_record_is_no_record(finished):
    (finished.root / "demo.json").write_text("{")
    assert load_state(finished) is None


def test_a_figure_with_a_floor_may_not_be_missing(finished, tmp_path):
    profile = load_settings().profiles["mirror"]
    metrics = dict.fromkeys(profile.floors, 0.5)
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(metrics | {"style/macro_f1/furniture": 0.4, "serving/latency_ms": 9.0}))
    shown = figures(profile, file)
    assert {name for name, _, floor in shown if floor is not None} == set(profile.floors)
    assert ("style/macro_f1/furniture", 0.4, None) in shown
    metrics.pop("enhance/psnr_gain")
    file.write_text(json.dumps(metrics))
    with pytest.raises(KeyError, match="enhance/psnr_gain"):
        figures(profile, file)
