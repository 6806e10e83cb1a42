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
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from packshot.ops.airflow_client import AirflowClient, DagRun

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
    "PACKSHOT__TRAINING__RECIPES__QUICK__FAULT_PICTURES": "60",
    "PACKSHOT__TRAINING__RECIPES__QUICK__FAULT_COPIES": "4",
    "PACKSHOT__TRAINING__RECIPES__QUICK__GAIN_PICTURES": "24",
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
            images = {file.relative_to(inbox).as_posix() for file in inbox.rglob("*") if file.is_file()}
            images -= {"catalog.csv", ".arrived"}
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


LOOP = {
    "PACKSHOT__TRAINING__RECIPES__QUICK__ENHANCE_STEPS": "80",
    "PACKSHOT__EVALUATION__PAIRS": "24",
    "PACKSHOT__REGISTRY__APPROVAL": "true",
    "PACKSHOT__REGISTRY__APPROVERS": '["admin"]',
    "PACKSHOT__REGISTRY__GATES": json.dumps(
        [
            {"metric": "quality/srcc/{quality}", "kind": "floor"},
            {"metric": "enhance/psnr_gain", "kind": "non_inferiority", "margin": 3.0, "min_groups": 5},
        ]
    ),
    "PACKSHOT__DRIFT__QUEUE_SIZE": "12",
    "PACKSHOT__DRIFT__MIN_NEW_LABELS": "10",
}
"""The enhancer learns ten times as long. That it is better cannot be told from 24 pairs: that it is not 3 dB worse can,
also at the confidence that a second use of the rows asks for."""
WITHIN_S = 900.0


class Loop:
    """The services of a finished demo, up again with other settings, and the commands of a person beside them."""

    def __init__(self, ran: Ran) -> None:
        self.home, self.checkout, self.environment = ran.home, ran.checkout, ran.environment | LOOP

    def packshot(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "packshot.cli", *arguments]
        done = subprocess.run(
            command, cwd=self.checkout, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def up(self) -> None:
        self.packshot("up")
        url = json.loads((self.home / "services.json").read_text())["airflow_url"]
        password = json.loads((self.home / "airflow/secrets.json").read_text())["password"]
        self.client = AirflowClient(url, "admin", password)
        for dag in ("intake", "retrain", "promote", "score", "drift", "rollback"):
            self.client.unpause(dag)

    def until(self, wanted: Callable[[], Any], what: str) -> Any:
        """The first true answer. Fails after WITHIN_S."""
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            found = wanted()
            if found:
                return found
            time.sleep(2)
        raise AssertionError(f"{what} did not come within {WITHIN_S:g} s; {self.client.runs()[:8]}")

    def finished(self, dag: str, since: datetime, conf: dict | None = None, run_id: str | None = None) -> DagRun:
        """A run that is over: the one started with `conf`, else the newest one since then that an event started."""
        if conf is not None:
            run_id = self.client.trigger(dag, conf)

        def run() -> DagRun | None:
            runs = [self.client.run(dag, run_id)] if run_id else self.client.runs(dag, since)
            over = [one for one in runs if one.finished and (run_id or one.run_type == "asset_triggered")]
            return over[0] if over else None

        found: DagRun = self.until(run, f"the end of {dag}")
        states = {task.task_id: task.state for task in self.client.tasks(found)}
        assert found.state == "success", (found, states)
        return found

    def asked(self, since: datetime) -> DagRun | None:
        """The promotion since then that waits for a person; None where the gates stopped it."""

        def at_question() -> tuple[DagRun | None] | None:
            for run in self.client.runs("promote", since):
                states = {task.task_id: task.state for task in self.client.tasks(run)}
                if states.get("approve") in ("awaiting_input", "deferred"):
                    return (run,)
                if run.finished:
                    return (None,)
            return None

        return self.until(at_question, "a promotion")[0]

    def answer(self, run: DagRun, option: str) -> None:
        # an answer within the seconds in which the asking process ends looks to Airflow like a lost task: it asks again
        time.sleep(8)
        path = f"/dags/promote/dagRuns/{run.run_id}/taskInstances/approve/-1/hitlDetails"
        self.client._call("PATCH", path, json={"chosen_options": [option], "params_input": {}})
        self.finished("promote", run.run_after, run_id=run.run_id)

    def ledger(self, kind: str) -> list[dict]:
        query = "select to_version, actor, data_rev, payload from ledger where kind = ? order by id"
        with closing(sqlite3.connect(self.home / "ledger.db")) as connection:
            found = connection.execute(query, (kind,)).fetchall()
        return [{"version": row[0], "actor": row[1], "data_rev": row[2]} | json.loads(row[3]) for row in found]


@pytest.fixture(scope="module")
def loop(ran):
    loop = Loop(ran)
    try:
        loop.up()
        other_model_after_approval(loop)
        drift_then_labels_then_training(loop)
        loop.finished("rollback", datetime.now(UTC), {"to": 1})
    finally:
        loop.packshot("down")
    return loop


def other_model_after_approval(loop: Loop) -> None:
    since = datetime.now(UTC)
    loop.client.send_event("catalog_ready", {"reason": "other settings"})
    loop.finished("retrain", since)
    run = loop.asked(since)
    assert run is not None, [gate["message"] for gate in loop.ledger("gate")[-1]["gates"]]
    assert loop.ledger("committed")[-1]["version"] == 1, "nothing moves before a person has answered"
    loop.answer(run, "Approve")


def drift_then_labels_then_training(loop: Loop) -> None:
    import pandas as pd

    since = datetime.now(UTC)
    loop.packshot("inbox", "put", str(loop.home / "workspaces/catalog/data/heldback/foreign"), "--batch", "late")
    loop.finished("score", since, {"batch": "late"})
    loop.until(lambda: loop.ledger("drift_response"), "an answer to the alarm")
    queue = loop.home / "labels" / "queue.csv"
    rows = pd.read_csv(queue)
    rows["quality_mos"], rows["who"], rows["when"] = 0.5, "cy", datetime.now(UTC).isoformat()
    rows.to_csv(queue, index=False)
    loop.packshot("labels", "add", str(queue))
    before = len(loop.ledger("register"))
    since = datetime.now(UTC)
    loop.finished("drift", since, {})
    loop.until(lambda: len(loop.ledger("register")) > before, "a version that has learned from the labels")
    run = loop.asked(since)
    if run is not None:
        loop.answer(run, "Reject")


@pytest.mark.e2e
@pytest.mark.timeout(2400)
class TestClosedLoop:
    """First model, worse one refused, another approved, drift, labels, training, rollback: read from the ledger."""

    def test_champions_came_and_went_as_they_should(self, loop):
        assert [entry["version"] for entry in loop.ledger("committed")] == [1, 3]
        assert [entry["version"] for entry in loop.ledger("rollback_committed")] == [1]
        assert 2 in [entry["version"] for entry in loop.ledger("refused")]

    def test_a_person_decided_about_what_the_gates_let_through(self, loop):
        first = loop.ledger("approval")[0]
        assert (first["version"], first["actor"], first["outcome"]) == (3, "admin", "approved")
        gate = next(one for one in loop.ledger("gate") if one["challenger"] == 3)
        assert gate["outcome"] == "promoted" and gate["champion"] == 1
        compared = next(one for one in gate["gates"] if one["kind"] == "non_inferiority")
        assert compared["verdict"] == "pass" and compared["low"] > -3 and compared["confidence"] > 0.95

    def test_an_alarm_trained_nothing_until_there_were_labels(self, loop):
        said = [entry["retrain"] for entry in loop.ledger("drift_response")]
        assert said[0] is False and said[-1] is True
        versions = {entry["version"]: entry["data_rev"] for entry in loop.ledger("register")}
        assert versions[1] == versions[3] != versions[4], "version 4 has learned from other data"

    def test_what_it_cost_is_in_the_ledger(self, loop):
        for kind in ("retrain", "register", "gate", "score", "drift"):
            spent = [entry["cost"] for entry in loop.ledger(kind) if "cost" in entry]
            assert spent and all(cost["wall_s"] > 0 and cost["price"] >= 0 for cost in spent), kind

    def test_people_were_told_of_moves_once(self, loop):
        keys = [entry["key"] for entry in loop.ledger("notice")]
        assert len(keys) == len(set(keys))
        assert {"promoted", "rolled_back", "refused", "drift_alarm"} <= {key.split("/")[0] for key in keys}
        assert "task_failed" not in {key.split("/")[0] for key in keys}
