"""The whole loop in a real Airflow on a small data set: `packshot demo`, twice, in a copy of this checkout."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIRROR = Path(os.environ.get("PACKSHOT_MIRROR") or ROOT / "../shared/data").resolve()
SAMPLE = {
    "biq2021": (220, "subset"),
    "furniture": (75, "style"),
    "clothing": (170, "category"),
    "grocery": (30, "category"),
}
SMALL = {
    "PACKSHOT__TRAINING__RECIPES__QUICK__EPOCHS": "2",
    "PACKSHOT__TRAINING__RECIPES__QUICK__PAIRS": "30",
    "PACKSHOT__TRAINING__RECIPES__QUICK__MIXES": "2",
    "PACKSHOT__TRAINING__RECIPES__QUICK__SINGLES": "2",
    "PACKSHOT__TRAINING__RECIPES__QUICK__PATCH": "64",
    "PACKSHOT__TRAINING__RECIPES__QUICK__ENHANCE_STEPS": "8",
    "PACKSHOT__TRAINING__RECIPES__QUICK__FOLDS": "2",
    "PACKSHOT__MODEL__LONG_SIDES": "[192]",
    "PACKSHOT__EVALUATION__BOOTSTRAP": "200",
    "PACKSHOT__EVALUATION__PAIRS": "8",
}
MIRROR_PROFILE = {
    "PACKSHOT__PROFILES__MIRROR__HELD_BACK__SAME__COUNT": "40",
    "PACKSHOT__PROFILES__MIRROR__HELD_BACK__FOREIGN__COUNT": "60",
    "PACKSHOT__PROFILES__MIRROR__FLOORS": json.dumps(
        {
            "quality/srcc/biq2021": -1.0,
            "quality/coverage/biq2021": 0.0,
            "style/accuracy/furniture": 0.0,
            "style/worst_class/furniture": 0.0,
            "enhance/psnr_gain": -60.0,
            "enhance/psnr_gain_over_classic": -60.0,
            "robustness/falls": 0.0,
        }
    ),
    "PACKSHOT__PROFILES__MIRROR__CEILINGS": '{"style/ece/furniture": 1.0, "enhance/share_harmed": 1.0}',
}
PACKAGES_PROFILE = {
    "PACKSHOT_SOURCE": "packages",
    "PACKSHOT__PROFILES__PACKAGES__FLOORS": json.dumps(
        {
            "quality/srcc/stamps": -1.0,
            "quality/coverage/stamps": 0.0,
            "style/accuracy/icons": 0.0,
            "style/worst_class/icons": 0.0,
            "enhance/psnr_gain": -60.0,
            "enhance/psnr_gain_over_classic": -60.0,
            "robustness/falls": 0.0,
        }
    ),
    "PACKSHOT__PROFILES__PACKAGES__CEILINGS": '{"style/ece/icons": 1.0, "enhance/share_harmed": 1.0}',
}


def small_mirror(target: Path) -> None:
    """A sample of the mirror, evenly over the strata of each set, always the same."""
    for name, (count, stratum) in SAMPLE.items():
        with (MIRROR / name / "labels.csv").open(newline="") as table:
            reader = csv.DictReader(table)
            header, strata = reader.fieldnames, defaultdict(list)
            for row in sorted(reader, key=lambda row: row["file"]):
                strata[row[stratum]].append(row)
        turns = [rows[turn : turn + 1] for turn in range(count) for rows in strata.values()]
        chosen = [row for rows in turns for row in rows][:count]
        folder = target / name
        (folder / "images").mkdir(parents=True)
        for row in chosen:
            shutil.copyfile(MIRROR / name / "images" / row["file"], folder / "images" / row["file"])
        with (folder / "labels.csv").open("w", newline="") as table:
            writer = csv.DictWriter(table, header)
            writer.writeheader()
            writer.writerows(chosen)


def copy_of_checkout(target: Path) -> None:
    """The working tree as git sees it, committed, so that any change to it shows."""
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "-m", "copy"]):
        subprocess.run(["git", *command], cwd=target, check=True)


@dataclass
class Ran:
    """A finished demo."""

    checkout: Path
    home: Path
    environment: dict[str, str]
    output: str
    seconds: float


def demo(checkout: Path, environment: dict[str, str]) -> tuple[str, float]:
    begun = time.monotonic()
    command = [sys.executable, "-m", "packshot.cli", "demo"]
    done = subprocess.run(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout, time.monotonic() - begun


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    base = tmp_path_factory.mktemp("main-job")
    checkout, home = base / "checkout", base / "home"
    checkout.mkdir()
    copy_of_checkout(checkout)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PACKSHOT", "AIRFLOW", "MLFLOW"))}
    environment |= SMALL | {
        "PACKSHOT_PROJECT": str(checkout),
        "PACKSHOT_HOME": str(home),
        "PYTHONPATH": str(checkout / "src"),
    }
    if MIRROR.is_dir():
        small_mirror(base / "mirror")
        environment |= MIRROR_PROFILE | {"PACKSHOT_SOURCE": "mirror", "PACKSHOT_MIRROR": str(base / "mirror")}
    else:
        environment |= PACKAGES_PROFILE
    output, seconds = demo(checkout, environment)
    return Ran(checkout, home, environment, output, seconds)


def rows(database: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def drift_of(ran: Ran, kind: str) -> dict:
    found = sorted(ran.home.glob(f"verdicts/{kind}-*/v*/drift.json"))
    assert len(found) == 1, found
    return json.loads(found[0].read_text())


@pytest.mark.e2e
@pytest.mark.timeout(1500)
class TestMainJob:
    """One demo, looked at from every side."""

    def test_the_first_model_becomes_champion_and_the_damaged_one_does_not(self, ran):
        ledger = rows(ran.home / "ledger.db", "select kind, to_version from ledger order by id")
        assert ("committed", 1) in ledger and ("refused", 2) in ledger
        assert [version for kind, version in ledger if kind == "committed"] == [1]
        intent, committed = ledger.index(("intent", 1)), ledger.index(("committed", 1))
        assert intent < committed

    def test_both_batches_have_verdicts_by_the_champion(self, ran):
        import pandas as pd

        found = sorted(ran.home.glob("verdicts/*/v1/verdicts.parquet"))
        assert [path.parts[-3].split("-")[0] for path in found] == ["foreign", "same"]
        for path in found:
            verdicts = pd.read_parquet(path)
            inbox = ran.home / "inbox" / path.parts[-3]
            images = {file.relative_to(inbox).as_posix() for file in inbox.rglob("*") if file.is_file()} - {
                "catalog.csv"
            }
            assert set(verdicts["path"]) == images and len(verdicts) == len(images)
            assert set(verdicts["model_version"].dropna().astype(int)) == {1}
            assert verdicts["data_rev"].notna().all() and verdicts["run_id"].notna().all()

    def test_only_the_foreign_batch_raises_the_alarm(self, ran):
        assert drift_of(ran, "same")["alarm"] is False
        assert drift_of(ran, "foreign")["alarm"] is True

    def test_events_started_what_followed(self, ran):
        airflow = ran.home / "airflow" / "airflow.db"
        sent = rows(airflow, "select a.name, count(*) from asset_event e join asset a on a.id = e.asset_id group by 1")
        counts = dict(sent)
        assert counts["catalog_ready"] == counts["champion"] == 1
        assert "drift_alarm" not in counts, "no label has come since, so no training is worth it"
        assert counts["verdicts"] == counts["challenger"] == 2
        runs = rows(airflow, "select dag_id, run_type, state from dag_run")
        assert {state for _, _, state in runs} == {"success"}
        assert runs.count(("retrain", "asset_triggered", "success")) == 1
        assert runs.count(("promote", "asset_triggered", "success")) == 2
        query = "select state from task_instance where dag_id = 'retrain' and task_id = 'train' order by start_date"
        assert [state for (state,) in rows(airflow, query)] == ["success"]
        query = "select state from task_instance where dag_id = 'drift' and task_id = 'respond'"
        assert {state for (state,) in rows(airflow, query)} == {"skipped"}

    def test_the_alarm_queues_pictures_of_its_batch_to_label(self, ran):
        with (ran.home / "labels" / "queue.csv").open(newline="") as table:
            queue = list(csv.DictReader(table))
        assert 0 < len(queue) <= 40 and {row["batch"].split("-")[0] for row in queue} == {"foreign"}
        assert all((ran.home / "inbox" / row["batch"] / row["path"]).is_file() and row["why"] for row in queue)
        assert (ran.home / "labels" / "queue.html").stat().st_size > 10_000

    def test_the_report_and_its_figures_are_there(self, ran):
        reports = ran.checkout / "reports" / "latest"
        assert (reports / "index.html").stat().st_size > 10_000
        metrics = json.loads((reports / "metrics.json").read_text())
        assert any(name.startswith("quality/srcc/") for name in metrics)

    def test_the_output_names_the_source_and_sums_up(self, ran):
        assert "source" in ran.output and "champion: version 1" in ran.output
        assert "no retraining: 0 newly labelled pictures" in " ".join(ran.output.split())

    def test_the_checkout_is_clean_and_nothing_still_runs(self, ran):
        status = subprocess.check_output(["git", "status", "--porcelain"], cwd=ran.checkout, text=True)
        assert status == ""
        assert not (ran.home / "services.json").exists()

    def test_a_second_demo_does_nothing_and_says_so(self, ran):
        watched = [*ran.home.glob("verdicts/*/v*/verdicts.parquet"), ran.checkout / "reports" / "latest" / "index.html"]
        before = [path.stat().st_mtime_ns for path in watched]
        output, seconds = demo(ran.checkout, ran.environment)
        assert "Nothing has changed since the last demo" in output
        assert [path.stat().st_mtime_ns for path in watched] == before
        assert seconds < 120
