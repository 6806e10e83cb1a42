"""Labels and alarms of a registered champion: what is queued, when a training starts, when a promise is broken."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_network import save_small_bundle, small_architecture
from typer.testing import CliRunner

from packshot.catalog.labels import LabelsRefused, LabelStore
from packshot.catalog.manifest import COLUMNS, write_manifest
from packshot.cli import app
from packshot.config import Gate, Settings, load_settings
from packshot.drift.alarm import History
from packshot.drift.samples import PREDICTIONS, STATISTICS
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.shop_scale import TooFewLabels
from packshot.files import write_json
from packshot.home import Home, project_root
from packshot.ops.labels import NotChecked, add_labels, check_labels, decide, queue_labels, respond
from packshot.ops.pipeline import inbox_drift
from packshot.ops.reviews import reviews_as_labels
from packshot.ops.shop_scale import calibrate_shop, withdraw_scale
from packshot.registry.alias import move
from packshot.registry.ledger import Ledger
from packshot.registry.register import register
from packshot.revision import run_key
from packshot.scoring.scorer import open_scorer
from packshot.scoring.verdicts import SHARD_SCHEMA, shard_tables, write_shard, write_verdicts
from packshot.service.verdict_rows import item_id

STYLES = ("modern", "rustic")
LINEAGE = {"model_name": "packshot", "model_version": 1, "data_rev": None, "code_rev": None, "params_hash": None}


def judged(rng: np.random.Generator, senders: Sequence[int], shift: float = 0.0) -> pd.DataFrame:
    """Judged pictures; `senders` are numbers of pictures, whose figures are mostly the sender's own."""
    rows = []
    for sender, count in enumerate(senders):
        look = rng.normal(0, 1, 8) + shift
        for index in range(count):
            vector = look + rng.normal(0, 0.3, 8)
            row = {"path": f"{sender}-{index}.png", "sender": f"s{sender}", "style": STYLES[index % 2], "sku": None}
            row |= {"title": None, "category": "chair", "embedding": vector, "style_vector": vector[:3]}
            row |= {name: float(1 / (1 + np.exp(-vector[i % 8]))) for i, name in enumerate(STATISTICS + PREDICTIONS)}
            rows.append(row | {"width": 40, "height": 40})
    frame = pd.DataFrame(rows)
    return frame.assign(quality_low=frame.quality - 0.2, quality_high=frame.quality + 0.2)


def held_out(rng: np.random.Generator, rows: int = 400) -> pd.DataFrame:
    quality = rng.uniform(0, 1, rows)
    style = np.array(STYLES)[rng.integers(0, 2, rows)]
    right = rng.uniform(0, 1, rows) < 0.8
    return pd.DataFrame(
        {
            "group": [f"g{i // 2}" for i in range(rows)],
            "quality": quality,
            "quality_mos": (quality + rng.normal(0, 0.1, rows)).clip(0, 1),
            "quality_low": quality - 0.2,
            "quality_high": quality + 0.2,
            "style": style,
            "style_pred": np.where(right, style, np.where(style == "modern", "rustic", "modern")),
        }
    )


@pytest.fixture(scope="module")
def settings() -> Settings:
    found = load_settings(project_root() / "params.yaml")
    rules = found.drift.model_copy(update={"min_new_labels": 5, "queue_size": 12, "queue_per_sender": 2})
    gates = (Gate(metric="serving/latency_ms", kind="ceiling", value=2000),)
    registry = found.registry.model_copy(update={"gates": gates})
    return found.model_copy(update={"registry": registry, "drift": rules})


@pytest.fixture(scope="module")
def registered(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion: a real network in a real MLflow, with a drift reference and held-out rows."""
    root = tmp_path_factory.mktemp("registered")
    workspace = root / "workspaces" / "train-1"
    source = {"profile": "own", "chosen": "own", "why": "test", "fingerprint": "0", "collected_at": "2026-01-01"}
    write_json(workspace / "data/raw/source.json", source | {"sets": {}})
    known = dict.fromkeys(COLUMNS) | {"image_id": "f" * 64, "path": "own/0.png", "source": "own", "split": "train"}
    write_manifest(workspace / "data/splits/manifest.parquet", pd.DataFrame([known]))
    made_from = run_key(settings, workspace)
    bundle = save_small_bundle(workspace / "models/packshot", small_architecture(styles=STYLES), made_from=made_from)
    reference = judged(np.random.default_rng(1), [9] * 40)
    reference.assign(group=reference.sender, image_id=reference.path).to_parquet(bundle / "reference.parquet")
    reports = workspace / "reports/evaluation"
    write_json(reports / "metrics.json", {"quality/srcc/own": 0.8})
    write_json(reports / "evaluated.json", {"bundle_sha256": bundle_digest(bundle)})
    held_out(np.random.default_rng(2)).to_parquet(reports / "per_image.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root))
        for name in ("MLFLOW_TRACKING_URI", "PACKSHOT_LEDGER_URL"):
            patch.delenv(name, raising=False)
        done = register(settings, workspace)
        ledger = Ledger.from_environment()
        move(settings, ledger, from_version=None, to_version=done.version, rollback=False, payload={})
    return root


@pytest.fixture
def home(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    root = tmp_path / "home"
    shutil.copytree(registered, root)
    monkeypatch.setenv("PACKSHOT_HOME", str(root))
    for name in ("MLFLOW_TRACKING_URI", "PACKSHOT_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    return Home.from_environment()


def put_batch(home: Home, settings: Settings, name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A batch of the inbox with verdicts by the champion; returns them with their image_id."""
    from packshot.registry.models import bundle_path

    run_id = bundle_path(settings, "champion")[1].run_id
    ids = []
    for number, path in enumerate(frame["path"]):
        file = home.inbox / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        seed = [number, *name.encode()]
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)).save(file)
        ids.append(hashlib.sha256(file.read_bytes()).hexdigest())
    frame = frame.assign(image_id=ids, decision="accept", scored_at=datetime.now(UTC))
    frame["reasons"] = [[] for _ in ids]
    missing = {field.name: None for field in SHARD_SCHEMA if field.name not in frame}
    rows = [missing | {str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    folder = home.verdicts / name / "v1"
    write_shard(folder / "shards" / "0.parquet", rows)
    write_verdicts(
        folder / "verdicts.parquet",
        shard_tables([folder / "shards" / "0.parquet"]),
        LINEAGE | {"batch_id": name, "run_id": run_id},
    )
    return frame


def alarming(home: Home, settings: Settings, name: str = "foreign") -> pd.DataFrame:
    batch = put_batch(home, settings, name, judged(np.random.default_rng(3), [6] * 10, shift=2.0))
    assert inbox_drift(settings, name).record["alarm"]
    return batch


def give_labels(home: Home, settings: Settings, rows: pd.DataFrame) -> None:
    file = home.root / "given.csv"
    columns = [name for name in ("image_id", "quality_mos", "style", "why") if name in rows]
    rows[columns].assign(who="ann", when="2026-01-01").to_csv(file, index=False)
    add_labels(settings, file)


def test_an_alarm_queues_pictures_and_starts_no_training_until_there_are_labels(home: Home, settings: Settings) -> None:
    batch = alarming(home, settings)
    first = respond(settings)
    assert not first.done and "0 newly labelled pictures, 5 are needed" in first.record["reason"]
    queue = pd.read_csv(home.labels / "queue.csv")
    assert len(queue) == settings.drift.queue_size and queue["image_id"].is_unique
    assert set(queue["why"].str.split(":").str[0].str.split(" of").str[0]) == {
        "typical",
        "the judge is unsure",
        "unlike all chosen before",
    }
    senders = batch.set_index("image_id").loc[queue["image_id"], "sender"]
    assert senders.value_counts().max() <= settings.drift.queue_per_sender
    page = (home.labels / "queue.html").read_text()
    assert page.count("data:image/jpeg") == len(queue)
    give_labels(home, settings, queue.head(5).assign(quality_mos=0.5).drop(columns="style"))
    second = respond(settings)
    assert second.done and second.record["batches"] == ["foreign"] and second.record["p_value"] <= 0.004
    assert not respond(settings).done, "an answered alarm is not answered again"
    responses = Ledger.from_environment().history(kind="drift_response")
    assert [entry["payload"]["retrain"] for entry in responses] == [False, True]


def test_within_the_cooldown_another_alarm_starts_no_training(home: Home, settings: Settings) -> None:
    always = settings.model_copy(update={"drift": settings.drift.model_copy(update={"retrain": "always"})})
    alarming(home, settings)
    assert respond(always).done
    alarming(home, settings, "foreign-2")
    held = respond(always)
    assert not held.done and "started a training already" in held.record["reason"]
    history = History(home.drift / "v1.jsonl")
    history.answer(["foreign"], datetime.now(UTC) - timedelta(hours=settings.drift.cooldown_hours, minutes=1))
    assert respond(always).record["batches"] == ["foreign-2"]


def test_the_queue_keeps_what_was_filled_in_and_drops_what_has_its_label(home: Home, settings: Settings) -> None:
    alarming(home, settings)
    queue_labels(settings, [])
    file = home.labels / "queue.csv"
    queue = pd.read_csv(file, dtype=str)
    queue.loc[3, ["quality_mos", "who", "when"]] = ["0.7", "bo", "2026-01-02"]
    queue.to_csv(file, index=False)
    give_labels(home, settings, queue.head(2).assign(quality_mos=0.5).drop(columns="style"))
    queue_labels(settings, [])
    again = pd.read_csv(file, dtype=str)
    assert not set(queue["image_id"].head(2)) & set(again["image_id"])
    assert again.set_index("image_id").loc[queue.loc[3, "image_id"], "quality_mos"] == "0.7"
    assert again["image_id"].is_unique and len(again) >= len(queue) - 2
    assert add_labels(settings, file).record["added"] == 1, "a partly filled queue is a file of labels"


def test_a_batch_that_was_not_checked_cannot_be_queued(home: Home, settings: Settings) -> None:
    put_batch(home, settings, "new", judged(np.random.default_rng(4), [3] * 4))
    with pytest.raises(NotChecked, match="packshot inbox drift new"):
        queue_labels(settings, ["new"])


def test_a_style_the_champion_does_not_know_is_refused(home: Home, settings: Settings) -> None:
    batch = put_batch(home, settings, "new", judged(np.random.default_rng(4), [3] * 4))
    with pytest.raises(LabelsRefused, match="no style 'gothic'; it knows modern, rustic"):
        give_labels(home, settings, batch.head(1).assign(style="gothic"))


def labelled_batch(home: Home, settings: Settings, senders: int, noise: float) -> None:
    rng = np.random.default_rng(6)
    batch = put_batch(home, settings, "labelled", judged(rng, [2] * senders))
    scores = (batch["quality"] + rng.normal(0, noise, len(batch))).clip(0, 1)
    give_labels(home, settings, batch.assign(quality_mos=scores).drop(columns="style"))


def test_labels_that_keep_the_promise_raise_no_alarm(home: Home, settings: Settings) -> None:
    labelled_batch(home, settings, 60, noise=0.1)
    found = check_labels(settings).record
    findings = {one["figure"]: one["finding"] for one in found["figures"]}
    assert findings["quality/srcc"] == findings["quality/coverage"] == "not shown worse"
    assert findings["style/accuracy"] == "not enough labels" and not found["alarm"]
    assert History(home.drift / "v1.jsonl").windows()[0].alarm is False


def test_a_broken_promise_is_an_alarm_in_the_history_and_the_ledger_once(home: Home, settings: Settings) -> None:
    labelled_batch(home, settings, 60, noise=0.5)
    found, again = check_labels(settings).record, check_labels(settings).record
    assert found == again and found["alarm"] and "quality/srcc" in found["reason"]
    worst = next(one for one in found["figures"] if one["figure"] == "quality/mean_absolute_error")
    assert worst["found"] > worst["promised"] and worst["at_least"] > 0
    windows = History(home.drift / "v1.jsonl").windows()
    assert [(window.p_value, window.alarm) for window in windows] == [(None, True)]
    checks = [entry["payload"] for entry in Ledger.from_environment().history(kind="labels")]
    assert [check["alarm"] for check in checks if "alarm" in check] == [True]
    assert respond(settings).record["batches"] == [windows[0].batch_id]


def test_pictures_chosen_because_the_judge_is_unsure_do_not_hold_it_to_its_promise(
    home: Home, settings: Settings
) -> None:
    alarming(home, settings)
    queue_labels(settings, [])
    queue = pd.read_csv(home.labels / "queue.csv").drop(columns="style").assign(quality_mos=0.5)
    unsure = queue["why"].str.startswith("the judge is unsure")
    give_labels(home, settings, queue)
    assert unsure.sum() > 0 and check_labels(settings).record["images"] == len(queue) - unsure.sum()


def test_few_labels_say_nothing_and_leave_no_window(home: Home, settings: Settings) -> None:
    assert not check_labels(settings).done, "no label at all"
    labelled_batch(home, settings, 15, noise=0.5)
    found = check_labels(settings).record
    assert {one["finding"] for one in found["figures"]} == {"not enough labels"} and not found["alarm"]
    assert History(home.drift / "v1.jsonl").windows() == []


@pytest.mark.parametrize(
    ("mode", "labels", "cooldown", "retrain"),
    [
        ("labels", 4, None, False),
        ("labels", 5, None, True),
        ("labels", 5, "tomorrow", False),
        ("always", 0, None, True),
        ("always", 0, "tomorrow", False),
        ("never", 99, None, False),
    ],
)
def test_what_an_alarm_starts(settings: Settings, mode: str, labels: int, cooldown: str | None, retrain: bool) -> None:
    rules = settings.drift.model_copy(update={"retrain": mode})
    assert decide(rules, labels, cooldown).retrain is retrain


def reviewed(batch: str, row: pd.Series, outcome: str, who: str = "ann", seen: int = 0, **more: object) -> int:
    item = item_id(batch, row["path"], row["image_id"])
    told = {"item": item, "batch": batch, "path": row["path"], "image_id": row["image_id"], "outcome": outcome}
    told |= {"token": f"{who}-{outcome}-{item}-{seen}", "seen": seen, "reason": None, **more}
    return Ledger.from_environment().record("reviewed", actor=who, model_name="packshot", payload=told)


def test_what_was_decided_at_the_desk_comes_back_as_labels(home: Home, settings: Settings) -> None:
    batch = put_batch(home, settings, "shop", judged(np.random.default_rng(5), [1] * 6))
    rows = [batch.iloc[number] for number in range(6)]
    assert not reviews_as_labels(settings).done
    reviewed("shop", rows[0], "accept")
    first = reviewed("shop", rows[1], "accept")
    reviewed("shop", rows[1], "reject", "bob", seen=first)  # bob knew of it, and overruled it
    reviewed("shop", rows[2], "undo", seen=reviewed("shop", rows[2], "reject"))
    reviewed("shop", rows[3], "accept")
    reviewed("shop", rows[3], "reject", "bob")  # beside each other: nobody has settled it
    reviewed("shop", rows[4], "enhance")
    reviewed("elsewhere", pd.Series({"path": "5.png", "image_id": "0" * 64}), "accept")
    added = reviews_as_labels(settings)
    assert (added.done, added.record["added"], added.record["decided"]) == (True, 2, 4)
    opinions = LabelStore(home.labels).opinions()
    said = {opinion.label.path: (opinion.decision, opinion.label.who) for opinion in opinions.values()}
    assert said == {rows[0]["path"]: ("accept", "ann"), rows[1]["path"]: ("reject", "bob")}
    assert not reviews_as_labels(settings).done, "known already"


def test_what_was_corrected_at_the_desk_is_learned_from(
    home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = put_batch(home, settings, "shop", judged(np.random.default_rng(5), [1] * 4))
    rows = [batch.iloc[number] for number in range(4)]
    monkeypatch.setattr("packshot.ops.reviews.styles_told", lambda settings: ("rustic",))
    monkeypatch.setattr("packshot.ops.labels.styles_told", lambda settings: ("rustic",))
    reviewed("shop", rows[0], "accept", score=0.25, style="rustic")
    reviewed("shop", rows[1], "enhance", score=0.5)
    reviewed("shop", rows[2], "enhance", style="of a model before")
    reviewed("shop", rows[3], "reject", style="of a model before")
    assert reviews_as_labels(settings).record["added"] == 3
    labels = {
        label.path: (label.decision, label.quality_mos, label.style) for label in LabelStore(home.labels).labels()
    }
    assert labels == {
        rows[0]["path"]: ("accept", 0.25, "rustic"),
        rows[1]["path"]: (None, 0.5, None),
        rows[3]["path"]: ("reject", None, None),
    }
    assert len(LabelStore(home.labels).lessons()) == 2


def shop_labels(home: Home, settings: Settings, name: str, values: pd.DataFrame) -> None:
    batch = put_batch(home, settings, name, judged(np.random.default_rng(5), [1] * len(values)))
    file = home.root / f"{name}.csv"
    rows = values.assign(image_id=batch["image_id"].to_numpy(), who="ann", when="2026-01-01")
    rows.to_csv(file, index=False)
    add_labels(settings, file)


def test_a_shop_scale_is_tried_put_in_force_and_withdrawn(home: Home, settings: Settings) -> None:
    scores = np.random.default_rng(6).normal(0.8, 0.05, 40).clip(0, 1)
    shop_labels(home, settings, "shop", pd.DataFrame({"quality_mos": scores}))
    assert open_scorer(settings, "champion").scale is None
    looked = calibrate_shop(settings, "dry-run").record
    assert looked["objections"] == [] and looked["labels"] == looked["scores"] == 40
    assert looked["tried"]["with_labels"]["interval_score"] < looked["tried"]["without"]["interval_score"]
    assert [one["labels"] for one in looked["prospects"] if one["expected"]] == [40, 60, 80]
    assert Ledger.from_environment().history(kind="shop_scale") == [], "looking decides nothing"
    applied = calibrate_shop(settings, "apply")
    found = open_scorer(settings, "champion")
    assert found.scale is not None and found.scale.id == applied.record["in_force"]
    assert found.scale.line.half_width < 0.15
    assert not calibrate_shop(settings, "apply").done, "the same labels fit the same scale"
    assert withdraw_scale(settings).record["withdrawn"] == applied.record["in_force"]
    assert open_scorer(settings, "champion").scale is None
    states = [entry["payload"]["state"] for entry in Ledger.from_environment().history(kind="shop_scale")]
    assert states == ["in_force", "withdrawn"]


def test_a_scale_that_saves_nothing_is_refused_with_its_figures(home: Home, settings: Settings) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    quality = open_scorer(settings, "champion").judge.judge([noise])[0].quality
    alone = "reject" if quality < settings.scoring.reject_below else "accept"
    decisions = np.array([alone] * 27 + [{"reject": "accept", "accept": "reject"}[alone]] * 3)
    shop_labels(home, settings, "alike", pd.DataFrame({"decision": decisions}))
    refused = calibrate_shop(settings, "apply").record
    assert refused["in_force"] is None
    assert any("100 decisions cost" in one for one in refused["objections"])
    assert open_scorer(settings, "champion").scale is None
    assert CliRunner().invoke(app, ["calibrate-shop"]).exit_code == 3
    entries = Ledger.from_environment().history(kind="shop_scale")
    assert [entry["payload"]["state"] for entry in entries] == ["refused"]


def test_too_few_labels_and_labels_at_odds_with_themselves_fit_no_scale(home: Home, settings: Settings) -> None:
    scores = pd.DataFrame({"quality_mos": np.full(24, 0.9), "decision": ["reject"] * 14 + ["accept"] * 10})
    shop_labels(home, settings, "few", scores)
    with pytest.raises(TooFewLabels, match="10 labelled pictures"):
        calibrate_shop(settings, "apply")


def test_labels_go_to_label_studio_and_come_back_under_the_same_rules(
    home: Home, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = put_batch(home, settings, "one", judged(np.random.default_rng(5), [3]))
    monkeypatch.setattr("packshot.cli.labelling.load_settings", lambda: settings)
    file = tmp_path / "labels.csv"
    file.write_text("path,quality_mos,style,who,when\n0-0.png,0.25,modern,ann,2026-03-01\n")
    add_labels(settings, file)
    exported = tmp_path / "tasks.json"
    assert CliRunner().invoke(app, ["labels", "export", str(exported), "--format", "label-studio"]).exit_code == 0
    (task,) = json.loads(exported.read_text())
    address = task["data"]["image"].removeprefix("/data/local-files/?d=")
    assert hashlib.sha256((home.root / address).read_bytes()).hexdigest() == frame["image_id"][0]
    asked = ["labels", "import", str(exported), "--format", "label-studio"]
    assert CliRunner().invoke(app, asked).exit_code == 99, "nothing is new"
    (said,) = task["annotations"]
    said["updated_at"] = "2026-03-02T10:00:00Z"
    next(each for each in said["result"] if each["from_name"] == "quality")["value"]["number"] = 0.75
    write_json(exported, [task])
    assert CliRunner().invoke(app, asked).exit_code == 0
    (opinion,) = LabelStore(home.labels).opinions().values()
    assert (opinion.quality_mos, opinion.style) == (0.75, "modern")
    next(each for each in said["result"] if each["from_name"] == "quality")["value"]["number"] = 7
    write_json(exported, [task])
    refused = CliRunner().invoke(app, asked)
    assert isinstance(refused.exception, LabelsRefused) and str(exported) in str(refused.exception)
