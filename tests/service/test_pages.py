"""The desk's pages: what they tell of batches, versions, data, sellers and labels, and that no text of these runs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from desk_application import Application, Browser
from desk_content import AIRFLOW, HOSTILE, drifted, gates, labelled, passed, quarantined
from sample_verdicts import broken, verdict, write_verdicts

from packshot.catalog.labels import Label
from packshot.catalog.source_record import QUARANTINE
from packshot.config import Settings, load_settings
from packshot.files import write_json
from packshot.home import Home
from packshot.registry.addresses import is_web
from packshot.registry.ledger import Ledger
from packshot.service.agreement import Pair, pairs_at_desk, pairs_in_labels
from packshot.service.overviews import ROWS
from packshot.service.review import Decided

PAGES = ("batches", f"batch?id={HOSTILE}", "model", "data", "sellers", "labels", "grid")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def asking(**registry: Any) -> Settings:
    loaded = load_settings()
    return loaded.model_copy(update={"registry": loaded.registry.model_copy(update={"approval": True, **registry})})


def rows() -> list[dict[str, Any]]:
    told = {"sender": f"north {HOSTILE}", "title": HOSTILE, "sku": "=1+1", "category": HOSTILE}
    return [
        verdict("a.jpg", "accept", 0.8, **told),
        verdict(f"{HOSTILE}.jpg", "reject", 0.2, reasons=["blur: 3 px", "low_quality: 0.2, at least 0.4"], **told),
        verdict("c.jpg", "review", 0.4, reasons=["uncertain: wide"], sender="south"),
        verdict("copy.jpg", "accept", 0.8, duplicate_of="a.jpg"),
        broken("broken.jpg"),
    ]


def browser(home: Path, settings: Settings | None = None, batch: str = HOSTILE, role: Any = "admin") -> Browser:
    folder = write_verdicts(home / "out", rows(), batch_id=batch)
    return Application.over(folder, settings=settings).person("ann", role)


def test_no_text_of_a_shop_or_a_person_runs_on_any_page(home: Path) -> None:
    ann = browser(home)
    drifted(home)
    ledger, gate = Ledger.from_environment(), gates("pass", f"found {HOSTILE}")
    ledger.record("register", actor=HOSTILE, model_name="packshot", to_version=1)
    ledger.record("gate", model_name="packshot", to_version=1, payload={"outcome": HOSTILE, "gates": [gate]})
    ledger.record("approval", actor=HOSTILE, model_name="packshot", to_version=1, payload={"reason": HOSTILE})
    told = {"batch": HOSTILE, "airflow": "javascript:alert(1)"}
    ledger.record("score", model_name="packshot", to_version=1, payload=told)
    quarantined([HOSTILE] * 2)
    labelled([(HOSTILE, "accept", 0.2), ("bob", "reject", 0.6)], path=HOSTILE)
    item = ann.app.state.service.review.now().items[0]
    for outcome in ("accept", "reject"):
        decision = {
            "item": item.id,
            "path": item.path,
            "outcome": outcome,
            "reason": HOSTILE,
            "token": f"{outcome}-token",
        }
        ledger.record("reviewed", actor=f"{outcome} {HOSTILE}", model_name="packshot", payload=decision)
    for page in PAGES:
        answer = ann.get(
            f"/desk/{page}" if "?" not in page else "/desk/batch", params={"id": HOSTILE} if "?" in page else {}
        )
        assert answer.status_code == 200, page
        assert "&lt;img src=x onerror=alert(1)&gt;" in answer.text, page
        assert "<img src=x" not in answer.text and "javascript:" not in answer.text, page
        assert "'unsafe" not in answer.headers["Content-Security-Policy"] and " style=" not in answer.text, page


def test_every_page_is_there_before_anything_is(home: Path) -> None:
    ann = Application.over().person("ann", "read")
    for page, said in {
        "batches": "No batch was scored",
        "model": "No version is champion",
        "data": "No data was validated",
        "sellers": "No pictures",
        "labels": "Nothing at the desk is in dispute",
        "grid": "0 pictures",
    }.items():
        answer = ann.get(f"/desk/{page}")
        assert answer.status_code == 200 and said in answer.text
    assert ann.get("/desk/batch?id=none").status_code == 404


def test_a_batch_is_counted_and_its_drift_and_tasks_are_told(home: Path) -> None:
    ann = browser(home, batch="monday")
    page = ann.get("/desk/batches").text
    assert "not checked" in page and '<td class="n">5</td>' in page
    drifted(home)
    ledger = Ledger.from_environment()
    for kind, batch, airflow in (
        ("score", "monday", AIRFLOW),
        ("drift", "monday", f"{AIRFLOW}2"),
        ("score", "x", "http://no"),
    ):
        ledger.record(kind, model_name="packshot", to_version=3, payload={"batch": batch, "airflow": airflow})
    page = ann.get("/desk/batches").text
    assert (
        ">alarm<" in page and f'href="{AIRFLOW}"' in page and f'href="{AIRFLOW}2"' in page and "http://no" not in page
    )
    assert "MLflow" not in page, "nobody knows where that is"
    write_json(Home.from_environment().services, {"mlflow_url": "http://mlflow.shop/"})
    assert 'href="http://mlflow.shop/#/models/packshot/versions/3"' in ann.get("/desk/batches").text
    page = ann.get("/desk/batch?id=monday").text
    assert "brightness" in page and "1 are copies" in page and "Blurred</a>: 1" in page
    item = next(item for item in ann.app.state.service.review.now().items if item.path == "a.jpg")
    assert f"/v1/queue/{item.id}/preview" in page and "<svg" in page
    drifted(home, alarm=False, p_value=None, drifted=None, statistics=[], examples=None)
    assert "not tested" in ann.get("/desk/batch?id=monday").text
    (home / "out" / "drift.json").write_text("{")
    assert "Not checked" in ann.get("/desk/batch?id=monday").text


def test_a_version_is_told_with_its_gates_and_their_intervals(home: Path) -> None:
    ann = browser(home)
    passed()
    page = ann.get("/desk/model").text
    assert "0.812" in page and "+0.010 to +0.100" in page and "not enough evidence" in page and "<svg" in page
    assert "Registered by trainer" in page and f'href="{AIRFLOW}"' in page
    assert "waits for" not in page, "registry.approval is off"
    Ledger.from_environment().record("committed", actor="eve", model_name="packshot", to_version=1)
    page = ann.get("/desk/model").text
    assert "Version 1 is champion" in page and "by eve" in page


def test_somebody_else_than_who_trained_it_approves_a_version_and_once(home: Path) -> None:
    ann = browser(home, asking())
    passed()
    page = ann.get("/desk/model").text
    assert "waits for somebody" in page and "Approve version 1" in page
    assert "Approve version 1" not in Application(ann.app).person("rita", "read").get("/desk/model").text
    assert ann.post("/desk/model", [("version", "1"), ("answer", "approve")]).headers["location"] == "/desk/model"
    (entry,) = Ledger.from_environment().events(kind="approval")
    assert (entry.actor, entry.payload.outcome, entry.to_version) == ("ann", "approved", 1)
    page = ann.get("/desk/model").text
    assert "approved by ann" in page and "Approve version 1" not in page


def test_nobody_approves_their_own_nor_without_being_an_approver(home: Path) -> None:
    ann = browser(home, asking(approvers=("bob",)))
    passed(actor="bob")
    for name in ("ann", "bob"):
        refused = (
            Application(ann.app).person(name, "approve").post("/desk/model", [("version", "1"), ("answer", "approve")])
        )
        assert refused.status_code == 403 and "not approved" in refused.text
    outcomes = [entry.payload.outcome for entry in Ledger.from_environment().events(kind="approval")]
    assert outcomes == ["rejected", "rejected"], "that they tried is written down"
    assert ann.post("/desk/model", [("version", "7"), ("answer", "approve")]).status_code == 404
    for wrong in ([("version", "x"), ("answer", "approve")], [("version", "1"), ("answer", "maybe")]):
        assert ann.post("/desk/model", wrong).status_code == 400


def test_what_is_in_quarantine_is_told_with_its_reason_page_by_page(home: Path) -> None:
    ann = browser(home)
    quarantined(["truncated"] * (ROWS + 5) + ["too_small"] * 3)
    page = ann.get("/desk/data").text
    assert "500 rows" in page and "truncated</a>: 105" in page and "too small</a>: 3" in page and "page 1 of 2" in page
    assert ann.get("/desk/data?reason=too_small").text.count('<th scope="row">') == 3
    assert ann.get("/desk/data?page=9").text.count('<th scope="row">') == 8
    assert ann.get("/desk/data?page=0").status_code == 422
    (Home.from_environment().workspaces / "catalog" / QUARANTINE).write_text("no Parquet")
    assert ann.get("/desk/data").status_code == 503


def test_what_a_seller_has_to_fix_is_told_and_can_be_taken_along(home: Path) -> None:
    ann = browser(home, batch="monday")
    page = ann.get("/desk/sellers").text
    assert "Blurred" in page and "(no seller named)" in page and "all" in page
    page = ann.get("/desk/sellers", params={"name": "south"}).text
    assert "<h1>south</h1>" in page and "Blurred" not in page and "Nothing to fix" in page
    assert "No pictures of that seller" in ann.get("/desk/sellers?name=nobody").text
    answer = ann.get("/desk/sellers.csv")
    assert 'filename="sellers.csv"' in answer.headers["content-disposition"]
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["fault"] for row in table} == {"blur", "low_quality", "not_an_image"}
    pictures = list(csv.DictReader(io.StringIO(ann.get("/desk/sellers.csv", params={"name": f"north {HOSTILE}"}).text)))
    assert [row["fault"] for row in pictures] == ["blur", "low_quality"]
    assert pictures[0]["sku"] == "'=1+1", "a spreadsheet takes it for text"
    assert not list((Home.from_environment().root / "service").glob("*.csv"))


def test_what_people_have_to_settle_is_told_and_how_far_they_agree(home: Path) -> None:
    ann = browser(home)
    bob = Application(ann.app).person("bob")
    first, second = ann.app.state.service.review.now().items[:2]
    for item, said in ((first, "accept"), (second, "accept")):
        bob.post("/desk/grid", [("item", f"{item.id}:0"), ("outcome", said), ("token", "b" * 8)])
    other = {"item": second.id, "path": second.path, "outcome": "reject", "token": "other-process"}
    Ledger.from_environment().record("reviewed", actor="eve", model_name="packshot", payload=other)
    labelled([("ann", "accept", 0.2), ("bob", "reject", 0.6)], path="disputed.jpg")
    page = ann.get("/desk/labels").text
    assert (
        "1 picture on which two people" in page
        and f'href="/desk#{second.id}"' in page
        and f"/desk#{first.id}" not in page
    )
    assert "bob and eve" in page and "ann and bob" in page and "0.400" in page and "disputed.jpg, batch b" in page
    assert "/desk#" not in Application(ann.app).person("rita", "read").get("/desk/labels").text
    (Home.from_environment().labels / "labels.jsonl").write_text("{}\n")
    assert ann.get("/desk/labels").status_code == 503


def said(who: str, outcome: Any, entry: int, beside: bool = False) -> Decided:
    return Decided(entry=entry, outcome=outcome, reason=None, who=who, at="", beside=beside)


def test_agreement_counts_what_stands_of_each_person() -> None:
    decided = [
        [said("ann", "accept", 1), said("bob", "reject", 2, beside=True), said("bob", "accept", 3)],
        [said("ann", "accept", 4), said("bob", "reject", 5, beside=True)],
        [said("ann", "reject", 6), said("bob", "reject", 7), said("bob", "undo", 8)],
        [said("ann", "reject", 9), said("ann", "reject", 10)],
    ]
    (pair,) = pairs_at_desk(decided)
    assert (pair.one, pair.other, pair.both, pair.same, pair.blind) == ("ann", "bob", 2, 1, 1)


def test_kappa_is_cohens() -> None:
    pair = Pair("a", "b")
    # J. Cohen's measure on a table that is often shown: 20, 5, 10, 15 of 50 give .4
    pair.counts.update({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15})
    assert pair.kappa == pytest.approx(0.4)
    assert Pair("a", "b").kappa is None
    pair = Pair("a", "b")
    pair.counts["yes", "yes"] = 9
    assert pair.kappa is None, "who always says the same shows no agreement beyond chance"


def test_of_labels_the_last_of_each_person_counts() -> None:
    def label(who: str, decision: str | None, score: float | None) -> Label:
        told: dict[str, Any] = dict.fromkeys(("style", "sku", "title", "sender", "category", "why"))
        told |= {"image_id": "i", "when": "", "file": "", "batch": "", "path": ""}
        return Label(who=who, decision=decision, quality_mos=score, **told)

    (pair,) = pairs_in_labels([label("b", "accept", 0.5), label("a", "reject", 0.1), label("b", "reject", None)])
    assert (pair.one, pair.both, pair.same, pair.apart) == ("a", 1, 1, pytest.approx(0.4))


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "/desk", "http://", None, 7, "ftp://a"])
def test_links_lead_to_web_pages_alone(address: object) -> None:
    assert not is_web(address) and is_web("https://airflow.shop/x")


@pytest.mark.parametrize(("role", "first"), [("read", "/desk/grid"), ("approve", "/desk/grid")])
def test_who_has_no_work_on_the_first_page_comes_to_one_that_is_for_them(tmp_path: Path, role: Any, first: str) -> None:
    ann = browser(tmp_path, role=role)
    came = ann.get("/desk", follow_redirects=False)
    assert came.status_code == 303 and came.headers["location"] == first
    assert 'href="/desk"' not in ann.get(first).text and 'href="/desk/model"' in ann.get(first).text


@pytest.mark.parametrize("role", ["review", "score", "admin"])
def test_who_reviews_or_sends_pictures_stays_there(tmp_path: Path, role: Any) -> None:
    assert browser(tmp_path, role=role).get("/desk", follow_redirects=False).status_code == 200
