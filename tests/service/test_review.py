"""The desk's queue: what waits, in which order, and what becomes of what people decide."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from running_service import Running, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scoring"))
from sample_batch import BrightnessJudge, Judged, picture, save, scorer

import packshot.service.review as module
from packshot.config import Settings, load_settings
from packshot.home import Home
from packshot.registry.ledger import Ledger
from packshot.scoring.batch import score
from packshot.scoring.verdicts import VerdictsUnreadable
from packshot.service.keys import Keys
from packshot.service.review import Review
from packshot.service.verdict_rows import item_id, scored_folders

HOSTILE = "<img src=x onerror=alert(1)>.png"
LEVELS = {"a/clear.png": 240, "b/one.png": 120, "b/two.png": 150, HOSTILE: 100, "dark.png": 20}


class UnsureJudge(BrightnessJudge):
    """Less sure of a picture the darker it is; enhancing darkens, so that none is repaired."""

    def __init__(self) -> None:
        super().__init__(step=-60)

    def _one(self, image: np.ndarray) -> Judged:
        found = super()._one(image)
        return replace(found, quality_low=2 * found.quality - 1)


def settings_of() -> Settings:
    loaded = load_settings()
    changes = {"accept_at": 0.6, "reject_below": 0.35, "thresholds": "fixed", "review_width": 2.0, "min_gain": 0.01}
    profiles = {"profiles": {"own": {}}}
    return loaded.model_copy(update={"scoring": loaded.scoring.model_copy(update=changes | profiles)})


@dataclass
class Desk:
    running: Running
    images: Path
    verdicts: Path

    def client(self, who: str = "ann") -> httpx.Client:
        return self.running.client(who)

    def waiting(self, decision: str = "review") -> list[str]:
        with self.client() as client:
            found = client.get("/v1/queue", params={"decision": decision, "count": 200}).json()
        assert found["waiting"] == len(found["items"])
        return [each["path"] for each in found["items"]]

    def id_of(self, path: str) -> str:
        image_id = hashlib.sha256((self.images / path).read_bytes()).hexdigest()
        return item_id(self.batch, path, image_id)

    @property
    def batch(self) -> str:
        return str(self.running.service.review._queue.items[0].file.batch_id)


def say(client: httpx.Client, item: str, outcome: str, token: str, **more: object) -> httpx.Response:
    return client.post(f"/v1/queue/{item}/decision", json={"outcome": outcome, "token": token * 8, **more})


@pytest.fixture
def desk(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    images, out, settings = tmp_path / "photos", tmp_path / "verdicts", settings_of()
    for number, (name, level) in enumerate(LEVELS.items()):
        save(images / name, picture(level, number))
    (images / "catalog.csv").write_text("path,sku\nb/one.png,007\nb/two.png,007\n")
    score(settings, images, out, scorer=scorer(UnsureJudge()))
    keys = Keys()
    secrets = {name: keys.add(name, "review", None) for name in ("ann", "bob")}
    for running in run(settings, str(bundle), keys, [out]):
        running.secrets = secrets
        running.service.review.page("review", None, 1)
        yield Desk(running, images, out)


def test_what_a_person_has_to_look_at_waits_and_is_decided_once(desk: Desk) -> None:
    before = desk.waiting()
    assert set(before) == {"b/one.png", "b/two.png", HOSTILE} and desk.waiting("accept") == ["a/clear.png"]
    item = desk.id_of("b/one.png")
    with desk.client() as client:
        shown = client.get(f"/v1/queue/{item}").json()
        assert shown["verdict"]["sku"] == "007" and shown["siblings"] == [desk.id_of("b/two.png")]
        assert shown["verdict"]["decision"] == "review" and shown["decided"] == []
        made = say(client, item, "reject", "t", reason="blur: too soft").json()
        assert (made["outcome"], made["reason"], made["who"]) == ("reject", "blur: too soft", "ann")
        assert desk.waiting() == [path for path in before if path != "b/one.png"]
        again = say(client, item, "reject", "t", reason="blur: too soft")
        assert again.status_code == 200 and again.json()["entry"] == made["entry"], "sent twice it is one"
        entries = Ledger.from_environment().events(kind="reviewed")
        assert [(e.actor, e.payload.path, e.payload.batch) for e in entries] == [("ann", "b/one.png", desk.batch)]
        assert say(client, item, "undo", "u", seen=made["entry"]).status_code == 200
    assert desk.waiting() == before, "what is taken back stands where it stood"


def test_the_least_sure_come_first_and_pages_follow_each_other(desk: Desk) -> None:
    with desk.client() as client:
        first = client.get("/v1/queue", params={"count": 2}).json()
        rest = client.get("/v1/queue", params={"after": first["items"][-1]["id"]}).json()
    widths = [each["width"] for each in first["items"] + rest["items"]]
    assert len(set(widths)) == 3 and widths == sorted(widths, reverse=True)
    assert [each["path"] for each in first["items"] + rest["items"]] == desk.waiting()


def test_the_second_of_two_people_is_told_and_may_still_decide(desk: Desk) -> None:
    item = desk.id_of("b/two.png")
    with desk.client("ann") as ann, desk.client("bob") as bob:
        made = say(ann, item, "accept", "a").json()
        late = say(bob, item, "reject", "b", reason="blur")
        assert late.status_code == 409 and "ann said accept" in late.json()["error"]
        assert say(bob, item, "reject", "c", reason="blur", seen=made["entry"]).status_code == 200
        told = ann.get(f"/v1/queue/{item}").json()
    assert [(each["who"], each["outcome"]) for each in told["decided"]] == [("ann", "accept"), ("bob", "reject")]
    assert not told["disputed"]


def test_what_was_decided_beside_each_other_waits_until_it_is_settled(desk: Desk) -> None:
    item = desk.id_of("b/two.png")
    with desk.client("ann") as ann:
        say(ann, item, "accept", "a")
        told = {"item": item, "batch": desk.batch, "path": "b/two.png", "outcome": "reject", "token": "other-process"}
        entry = Ledger.from_environment().record("reviewed", actor="bob", model_name="packshot", payload=told)
        assert "b/two.png" in desk.waiting() and ann.get(f"/v1/queue/{item}").json()["disputed"]
        assert say(ann, item, "reject", "s", reason="settled", seen=entry).status_code == 200
        assert "b/two.png" not in desk.waiting() and not ann.get(f"/v1/queue/{item}").json()["disputed"]


def test_pictures_are_written_anew_and_only_those_that_were_judged(desk: Desk) -> None:
    item = desk.id_of("b/one.png")
    with desk.client() as client:
        shown = client.get(f"/v1/queue/{item}/picture")
        assert shown.status_code == 200 and shown.headers["content-type"] == "image/jpeg"
        original = np.asarray(Image.open(desk.images / "b/one.png").convert("RGB"), dtype=float)
        assert np.abs(np.asarray(Image.open(io.BytesIO(shown.content)), dtype=float) - original).mean() < 9, (
            "another picture differs by 13"
        )
        assert client.get(f"/v1/queue/{item}/picture?of=enhanced").status_code == 410
        assert client.get("/v1/queue/0123456789abcdef/picture").status_code == 404
        assert client.get("/v1/queue/..%2f..%2fetc%2fpasswd/picture").status_code in (404, 422)
        save(desk.images / "b/one.png", picture(200, 77))
        changed = client.get(f"/v1/queue/{item}/picture")
    assert changed.status_code == 410 and "another one" in changed.json()["error"]


def test_a_script_that_hides_in_a_picture_is_not_passed_on(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "polyglots"
    save(folder / "poly.jpg", picture(130, 5), comment=b"<script>alert(1)</script>")
    with (folder / "poly.jpg").open("ab") as file:
        file.write(b"<html><script>alert(2)</script>")
    score(settings_of(), folder, tmp_path / "more", scorer=scorer(UnsureJudge()))
    review = Review(settings_of(), [tmp_path / "more"])
    (item,) = review.page("review", None, 5).items
    shown = review.picture(item.id, "original")
    assert shown.startswith(b"\xff\xd8") and b"script" not in shown


def test_what_cannot_be_decided_is_refused(desk: Desk) -> None:
    item = desk.id_of("b/one.png")
    with desk.client() as client:
        assert "repaired" in say(client, item, "enhance", "e").json()["error"]
        assert "take back" in say(client, item, "undo", "u").json()["error"]
        wrong: list[dict[str, object]] = [
            {"outcome": "delete", "token": "x" * 8},
            {"outcome": "accept"},
            {"outcome": "accept", "token": "<b>"},
            {"outcome": "accept", "token": "x" * 8, "who": "bob"},
            {"outcome": "reject", "token": "x" * 8, "reason": "r" * 201},
        ]
        for body in wrong:
            assert client.post(f"/v1/queue/{item}/decision", json=body).status_code == 422
    assert Ledger.from_environment().history(kind="reviewed") == []


def test_a_score_and_a_style_are_corrected_along_with_a_decision(desk: Desk) -> None:
    item = desk.id_of("b/one.png")
    with desk.client() as client:
        assert client.get(f"/v1/queue/{item}").json()["styles"] == ["bright", "dark"]
        assert say(client, item, "accept", "w", style="baroque").status_code == 400
        for wrong in ({"score": 1.5}, {"score": "high"}, {"style": ""}, {"style": "x" * 201}):
            assert say(client, item, "accept", "w", **wrong).status_code == 422
        made = say(client, item, "accept", "c", score=0.25, style="dark").json()
        assert (made["score"], made["style"]) == (0.25, "dark")
        assert say(client, item, "undo", "u", seen=made["entry"], score=0.5).status_code == 422
        (told,) = client.get(f"/v1/queue/{item}").json()["decided"]
        assert (told["outcome"], told["score"], told["style"]) == ("accept", 0.25, "dark")
    (entry,) = Ledger.from_environment().events(kind="reviewed")
    assert (entry.payload.score, entry.payload.style) == (0.25, "dark")


def test_a_locked_database_loses_no_decision_and_doubles_none(desk: Desk) -> None:
    item = desk.id_of("b/one.png")
    with desk.client() as client:
        assert desk.waiting()
        holder = sqlite3.connect(Home.from_environment().ledger_db, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        refused = say(client, item, "accept", "k")
        holder.execute("ROLLBACK")
        holder.close()
        assert refused.status_code == 503 and refused.headers["Retry-After"]
        assert say(client, item, "accept", "k").status_code == 200
    assert len(Ledger.from_environment().history(kind="reviewed")) == 1


def test_a_batch_that_is_scored_later_joins_the_queue(desk: Desk) -> None:
    assert len(desk.waiting()) == 3
    save(desk.images / "new.png", picture(125, 40))
    score(settings_of(), desk.images, desk.verdicts, scorer=scorer(UnsureJudge()))
    assert "new.png" in desk.waiting()


def test_a_repaired_picture_can_be_looked_at_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    save(tmp_path / "in" / "grey.png", picture(130, 3))
    score(settings_of(), tmp_path / "in", tmp_path / "out", scorer=scorer(BrightnessJudge()))
    review = Review(settings_of(), [tmp_path / "out"])
    (item,) = review.page("enhance", None, 5).items
    after, before = (
        np.asarray(Image.open(io.BytesIO(review.picture(item.id, which))), dtype=float).mean()
        for which in ("enhanced", "original")
    )
    assert after == pytest.approx(before + 40, abs=3)
    made = review.decide(item.id, module.Said(outcome="enhance", token="x" * 8), "ann")
    assert made.outcome == "enhance" and review.page("enhance", None, 5).waiting == 0
    assert Review(settings_of(), [tmp_path / "out"]).page("enhance", None, 5).decided == 1, "known after a restart"


def test_of_each_batch_the_champions_verdicts_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path))
    for batch, version in (("one", 1), ("one", 2), ("one", 10), ("two", 9), ("two", 10)):
        file = Home.from_environment().verdicts_by(batch, version) / "verdicts.parquet"
        file.parent.mkdir(parents=True)
        file.touch()
    named = [f"{found.parent.name} {found.name}" for found in scored_folders(2)]
    assert named == ["one v2", "two v10"]


def test_a_desk_without_batches_is_empty_and_one_that_cannot_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path))
    assert Review(load_settings()).page("review", None, 5).waiting == 0
    file = Home.from_environment().verdicts_by("one", 1) / "verdicts.parquet"
    file.parent.mkdir(parents=True)
    file.write_text("no Parquet")
    review = Review(load_settings())
    review.warm()
    with pytest.raises(VerdictsUnreadable, match="cannot be read"):
        review.page("review", None, 5)


def test_a_new_champions_verdicts_come_to_the_desk_and_decisions_add_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    ledger, review, states = Ledger.from_environment(), Review(load_settings()), []
    state = Ledger.state
    monkeypatch.setattr(Ledger, "state", lambda self, name: states.append(name) or state(self, name))
    for version in (1, 2):
        ledger.record("adopted", model_name="packshot", to_version=version, payload={"outcome": "adopted"})
        assert review._champion() == version
        told = {"item": "0" * 16, "batch": "b", "path": "p", "outcome": "accept", "token": f"champion{version}"}
        ledger.record("reviewed", model_name="packshot", payload=told)
        assert review._champion() == version and len(states) == version
