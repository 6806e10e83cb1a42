"""A state folder that was copied works from where it is, and leaves alone what it was copied from."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import cv2
import pandas as pd
import pytest
from skilled_models import Shop, evidence
from small_network import save_small_bundle, small_architecture
from small_workspace import picture

from packshot.config import Settings
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.heldout import HeldOut
from packshot.exports.source import open_verdicts
from packshot.home import Home
from packshot.ops.pipeline import inbox_put, inbox_score
from packshot.ops.reporting import write_report
from packshot.registry.alias import move
from packshot.registry.ledger import Ledger
from packshot.registry.models import bundle_path
from packshot.registry.promote import promote
from packshot.registry.register import register
from packshot.registry.tracking import client, experiment_id
from packshot.relocation import HomeUnreadable, present, settle
from packshot.revision import run_key
from packshot.scoring.shards import read_manifest


def deliver(tmp_path: Path, batch: str, first: int) -> None:
    folder = tmp_path / "in" / batch
    folder.mkdir(parents=True)
    for number in range(first, first + 4):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number, number % 2, 0.5 * (number % 4)))
    inbox_put(folder, batch)


@pytest.fixture
def two_versions(shop: Shop, ledger: Ledger, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Version 1 is champion and has scored a batch; version 2 is the better challenger."""
    skills = {}
    for seed, skill in ((0, 0.8), (1, 0.9)):
        bundle = save_small_bundle(
            tmp_path / f"bundle{seed}", small_architecture(), seed, run_key(shop.settings, shop.workspace)
        )
        skills[bundle_digest(bundle)] = skill
        register(shop.settings, shop.workspace, bundle=bundle, note="test")

    def scored(bundle: Path, *_: object) -> HeldOut:
        found = evidence(0, skills[bundle_digest(bundle)])
        srcc = found.slice("quality/srcc/shop").value
        return HeldOut(found.per_image, found.per_pair, found.per_single, {"quality/srcc/shop": srcc})

    monkeypatch.setattr("packshot.registry.promote.score_heldout_once", scored)
    move(shop.settings, ledger, from_version=None, to_version=1, rollback=False, payload={})
    deliver(tmp_path, "before", 10)
    inbox_score(shop.settings, "before")
    return shop


def everything_below(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(root)), path.stat().st_mtime_ns) for path in root.rglob("*"))


def test_a_copy_scores_reports_and_promotes_with_the_original_hidden(
    two_versions: Shop, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = two_versions.settings
    settle()
    copy, hidden = tmp_path / "elsewhere" / "copy of home", tmp_path / "hidden"
    shutil.copytree(home.root, copy)
    home.root.rename(hidden)
    untouched = everything_below(hidden)
    monkeypatch.setenv("PACKSHOT_HOME", str(copy))
    shutil.rmtree(copy / "models", ignore_errors=True)  # what was fetched before: all comes from the store anew

    deliver(tmp_path, "after", 20)
    inbox_score(settings, "after")
    verdicts = copy / "verdicts" / "after" / "v1"
    assert set(pd.read_parquet(verdicts / "verdicts.parquet").decision) <= {"accept", "enhanced", "review", "reject"}
    report = write_report(settings, out=tmp_path / "report")
    assert {Path(folder).parent.name for folder in report["batches"]} == {"before", "after"}
    assert promote(settings, challenger=2, workspace=two_versions.workspace).outcome == "promoted"
    assert bundle_path(settings, "champion")[0].is_relative_to(copy)
    assert open_verdicts([copy / "verdicts" / "before" / "v1"])[0].images() == copy / "inbox" / "before"

    assert not home.root.exists(), "nothing is made at the old place"
    assert everything_below(hidden) == untouched
    with closing(sqlite3.connect(copy / "mlflow" / "mlflow.db")) as store:
        assert str(home.root) not in "\n".join(store.iterdump())


def test_a_copy_leaves_an_original_alone_that_is_still_there_and_kept_no_record(
    settings: Settings, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id(settings, client(settings))
    (home.root / "home.json").unlink()
    shutil.copytree(home.root, tmp_path / "copy")
    untouched = everything_below(home.root)
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "copy"))
    [made] = [one for one in client(settings).search_experiments() if one.name == settings.registry.experiment]
    assert made.artifact_location == (tmp_path / "copy" / "mlflow" / "artifacts").as_uri()
    assert present(home.inbox / "a") == tmp_path / "copy" / "inbox" / "a"
    assert everything_below(home.root) == untouched


def test_a_place_is_mapped_only_below_the_folder_that_was_moved(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle()
    for name in ("second", "third"):
        before = Home.from_environment().root
        before.rename(tmp_path / name)
        monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / name))
        settle()
    assert present(home.root / "inbox" / "a") == present(tmp_path / "second" / "inbox" / "a")
    assert present(home.root / "inbox" / "a") == tmp_path / "third" / "inbox" / "a"
    beside = home.root.with_name(home.root.name + "-2") / "inbox"
    assert present(beside) == beside


def test_one_folder_under_two_names_is_not_taken_for_a_copy(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle()
    record = json.loads((home.root / "home.json").read_text())
    (tmp_path / "link").symlink_to(home.root)
    (home.root / "home.json").write_text(json.dumps(record | {"root": str(tmp_path / "link")}))
    settle()
    assert json.loads((home.root / "home.json").read_text())["root"] == str(tmp_path / "link")


def test_a_store_that_cannot_be_brought_up_to_date_is_named(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle()
    shutil.copytree(home.root, tmp_path / "copy")
    (tmp_path / "copy" / "mlflow" / "mlflow.db").write_bytes(b"no database, whatever its name says" * 200)
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "copy"))
    for _ in range(2):
        with pytest.raises(HomeUnreadable, match=r"mlflow\.db"):
            settle()
    (tmp_path / "copy" / "home.json").write_text("{")
    with pytest.raises(HomeUnreadable, match=r"home\.json"):
        settle()


def test_where_pictures_were_judged_is_looked_for_in_the_copy(home: Home, tmp_path: Path) -> None:
    (home.root / "home.json").write_text(json.dumps({"root": str(home.root), "formerly": ["/srv/old"]}))
    (tmp_path / "out" / ".shards").mkdir(parents=True)
    for recorded, expected in (
        ("/srv/old/inbox/a", str(home.inbox / "a")),
        ("/srv/pictures", "/srv/pictures"),
        ("s3://bucket/a", "s3://bucket/a"),
    ):
        (tmp_path / "out" / ".shards" / "manifest.json").write_text(json.dumps({"images": recorded}))
        assert read_manifest(tmp_path / "out")["images"] == expected
