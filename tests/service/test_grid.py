"""The grid: filters combine, texts are searched, and one decision on several pictures is one entry for each."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from desk_application import Application, Browser
from pydantic import ValidationError
from sample_verdicts import broken, finding, verdict, write_verdicts

from packshot.config import load_settings
from packshot.registry.ledger import Ledger
from packshot.service.grid import PAGE, Grid, Wanted, folded
from packshot.service.review import Review, Said
from packshot.service.views import MOST

FIRST = datetime(2026, 3, 1, 23, tzinfo=UTC)
HOSTILE = '<img src=x onerror=alert(1)>"'


def rows_of(count: int) -> list[dict[str, Any]]:
    drawn = random.Random(0)
    rows = []
    for number in range(count):
        width = drawn.choice([0.1, 0.2, 0.4])
        decision = drawn.choice(["accept", "review", "reject"])
        rows.append(
            verdict(
                f"shop/{number:03d}.jpg",
                decision,
                quality=(quality := round(drawn.uniform(0.3, 0.7), 3)),
                quality_low=quality - width,
                quality_high=quality + width,
                sku=drawn.choice(["A-1", "B-2", None]),
                title=drawn.choice(["Straße lamp", "Oak CHAIR", "Oak lamp", None]),
                sender=drawn.choice(["north", "South & sons", None]),
                style=drawn.choice(["rustic", "modern", None]),
                category=drawn.choice(["chairs", "lamps"]),
                reasons=drawn.choice([[], ["blur: 2.1 px, at most 1"], ["blur: 3", "uncertain: 0.4 wide"]]),
                findings=drawn.choice([None, [finding("background", "not white")]]),
                scored_at=FIRST + timedelta(days=drawn.randrange(5)),
            )
        )
    return rows


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    rows = rows_of(150)
    write_verdicts(tmp_path / "one", rows[:90], batch_id="one")
    write_verdicts(tmp_path / "two", rows[90:], batch_id="two", version=4)
    return rows


@pytest.fixture
def review(rows: list[dict[str, Any]], tmp_path: Path) -> Review:
    return Review(load_settings(), [tmp_path / "one", tmp_path / "two"])


def paths(grid: Grid, **asked: Any) -> list[str]:
    wanted, found = Wanted(**asked), []
    for page in range(1, grid.find(wanted).pages + 1):
        found += [row.item.path for row in grid.find(wanted.model_copy(update={"page": page})).rows]
    assert len(found) == grid.find(wanted).total
    return found


ASKED: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda row: True),
    ({"decision": ("accept", "reject")}, lambda row: row["decision"] != "review"),
    ({"code": ("blur",)}, lambda row: row["reasons"]),
    ({"code": ("uncertain", "background")}, lambda row: len(row["reasons"]) > 1 or row["findings"]),
    ({"style": "MODERN"}, lambda row: row["style"] == "modern"),
    ({"seller": "south & sons"}, lambda row: row["sender"] == "South & sons"),
    ({"sku": "A-1"}, lambda row: row["sku"] == "A-1"),
    ({"category": "lamps"}, lambda row: row["category"] == "lamps"),
    ({"since": "2026-03-02"}, lambda row: row["scored_at"].day >= 2),
    ({"until": "2026-03-03"}, lambda row: row["scored_at"].day <= 3),
    ({"narrowest": 0.39, "widest": 0.41}, lambda row: 0.39 <= row["quality_high"] - row["quality_low"] <= 0.41),
    ({"q": "oak lamp"}, lambda row: row["title"] == "Oak lamp"),
    ({"q": "STRASSE"}, lambda row: row["title"] == "Straße lamp"),
    ({"q": "b-2 07"}, lambda row: row["sku"] == "B-2" and "07" in row["path"]),
    ({"style": "nobody's"}, lambda row: False),
    ({"code": ("nothing",)}, lambda row: False),
]


def test_filters_combine_as_a_pass_over_all_rows_would(rows: list[dict[str, Any]], review: Review) -> None:
    grid, drawn = Grid(review), random.Random(1)
    for _ in range(200):
        chosen = drawn.sample(ASKED, drawn.randint(1, 4))
        asked = {name: value for told, _ in chosen for name, value in told.items()}
        tests = {tuple(told): test for told, test in chosen}  # of two of one kind the later counts
        expected = [row["path"] for row in rows if all(test(row) for test in tests.values())]
        assert sorted(paths(grid, **asked)) == sorted(expected), asked


def test_the_batch_and_the_model_are_filters(rows: list[dict[str, Any]], review: Review) -> None:
    grid = Grid(review)
    assert sorted(paths(grid, batch="two")) == sorted(paths(grid, model="packshot version 4"))
    assert len(paths(grid, batch="two")) == 60


def test_orders_follow_what_they_are_called_after(rows: list[dict[str, Any]], review: Review) -> None:
    grid, known = Grid(review), {row["path"]: row for row in rows}
    for name, key in (("worst", "quality"), ("oldest", "scored_at"), ("path", "path")):
        values = [known[path][key] for path in paths(grid, sort=name)]
        assert values == sorted(values)
    for name, key in (("best", "quality"), ("newest", "scored_at")):
        values = [known[path][key] for path in paths(grid, sort=name)]
        assert values == sorted(values, reverse=True)
    sellers = [known[path]["sender"] or "~" for path in paths(grid, sort="seller")]
    assert sellers == sorted(sellers, key=folded)
    widths = [known[path]["quality_high"] - known[path]["quality_low"] for path in paths(grid, sort="unsure")]
    assert widths == pytest.approx(sorted(widths, reverse=True))


def test_what_has_no_score_stands_last_and_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    kept = write_verdicts(tmp_path / "old", [broken("b.jpg"), verdict("c.jpg"), verdict("d.jpg", duplicate_of="c.jpg")])
    table = pq.read_table(kept / "verdicts.parquet").drop_columns(["findings", "preview"])
    pq.write_table(table, kept / "verdicts.parquet")  # as an older Packshot wrote it
    grid = Grid(Review(load_settings(), [kept]))
    for sort in ("worst", "best", "unsure", "surest"):
        assert paths(grid, sort=sort) == ["c.jpg", "b.jpg"]
    assert paths(grid, code=("not_an_image",)) == ["b.jpg"] and paths(grid, widest=1.0) == ["c.jpg"]


def test_a_page_behind_the_last_is_the_last(review: Review) -> None:
    found = Grid(review).find(Wanted(page=99))
    assert (found.total, found.page, found.pages, len(found.rows)) == (150, 3, 3, 150 - 2 * PAGE)


def test_what_people_decided_is_a_filter_and_counts_at_once(rows: list[dict[str, Any]], review: Review) -> None:
    grid = Grid(review)
    first, second = (row.item for row in grid.find(Wanted()).rows[:2])
    made = review.decide(first.id, Said(outcome="accept", token="t" * 8), "ann")
    told = {"item": second.id, "batch": "one", "path": second.path, "outcome": "accept", "token": "in-other"}
    for outcome in ("accept", "reject"):
        entry = told | {"outcome": outcome, "token": f"beside-{outcome}"}
        Ledger.from_environment().record("reviewed", actor=outcome, model_name="packshot", payload=entry)
    assert paths(grid, people="decided") == [first.path] and paths(grid, people="disputed") == [second.path]
    assert len(paths(grid, people="open")) == 149
    review.decide(first.id, Said(outcome="undo", seen=made.entry, token="u" * 8), "ann")
    assert len(paths(grid, people="open")) == 150


def test_an_address_says_what_is_asked_and_nothing_else(review: Review) -> None:
    pairs = [
        ("decision", "accept"),
        ("decision", "reject"),
        ("q", " a&b=c "),
        ("style", ""),
        ("widest", "0.5"),
        ("page", "2"),
    ]
    wanted = Wanted.asked(pairs)
    assert wanted.address(page=1) == "decision=accept&decision=reject&widest=0.5&q=a%26b%3Dc"
    for pair in (
        ("page", "0"),
        ("widest", "nan"),
        ("decision", "delete"),
        ("since", "soon"),
        ("who", "me"),
        ("q", "x" * 201),
    ):
        with pytest.raises(ValidationError):
            Wanted.asked([pair])


@pytest.fixture
def ann(rows: list[dict[str, Any]], tmp_path: Path) -> Browser:
    return Application.over(tmp_path / "one", tmp_path / "two").person("ann")


def form(page: str) -> list[str]:
    return re.findall(r'type="checkbox" name="item" value="([0-9a-f]{16}:\d+)"', page)


def token(page: str) -> str:
    found = re.search(r'name="token" value="(\w+)"', page)
    assert found
    return found[1]


def entries() -> list[tuple[str, str, str | None]]:
    return [
        (each.actor, each.payload.outcome, each.payload.reason)
        for each in Ledger.from_environment().events(kind="reviewed")
    ]


def test_a_decision_on_several_is_one_entry_for_each_however_often_it_is_sent(ann: Browser) -> None:
    page = ann.get("/desk/grid?decision=review&sort=path").text
    chosen = [("item", each) for each in form(page)[:3]] + [
        ("outcome", "reject"),
        ("reason", "blur"),
        ("token", token(page)),
    ]
    assert "3 decided: reject" in ann.post("/desk/grid?decision=review&sort=path", chosen).text
    again = ann.post("/desk/grid?decision=review&sort=path", chosen).text
    assert "3 decided" in again and entries() == [("ann", "reject", "blur")] * 3
    assert again.count("ann: reject") == 3
    back = re.findall(r'type="hidden" name="item" value="([0-9a-f]{16}:\d+)"', again)
    undone = ann.post("/desk/grid", [("item", each) for each in back] + [("outcome", "undo"), ("token", token(again))])
    assert "3 decided: undo" in undone.text and len(entries()) == 6


def test_what_somebody_else_decided_meanwhile_is_told_and_the_rest_is_entered(ann: Browser) -> None:
    page = ann.get("/desk/grid").text
    bob = Application(ann.app).person("bob")
    first, second = form(page)[:2]
    bob.post("/desk/grid", [("item", first), ("outcome", "accept"), ("token", "b" * 8)])
    told = ann.post(
        "/desk/grid", [("item", first), ("item", second), ("outcome", "reject"), ("reason", "x"), ("token", "a")]
    )
    assert "1 decided" in told.text and "bob said accept meanwhile" in told.text
    assert entries() == [("bob", "accept", None), ("ann", "reject", "x")]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([("outcome", "reject")], "needs a reason"),
        ([("outcome", "reject"), ("reason", "x" * 201)], "reason"),
        ([("outcome", "delete")], "outcome"),
        ([("outcome", "undo")], "take back"),
        ([("outcome", "enhance")], "repaired"),
    ],
)
def test_what_cannot_be_decided_is_entered_nowhere(ann: Browser, fields: list[tuple[str, str]], said: str) -> None:
    page = ann.get("/desk/grid").text
    answer = ann.post("/desk/grid", [("item", form(page)[0]), ("token", token(page)), *fields])
    assert answer.status_code == 200 and said in answer.text and entries() == []


def test_what_no_page_of_ours_sends_is_refused(ann: Browser) -> None:
    assert ann.post("/desk/grid", [("item", "x"), ("outcome", "accept")]).status_code == 400
    assert "no scored picture" in ann.post("/desk/grid", [("item", "0" * 16 + ":0"), ("outcome", "accept")]).text
    assert "no picture was ticked" in ann.post("/desk/grid", [("outcome", "accept")]).text
    assert ann.get("/desk/grid?page=none").status_code == 400 and ann.get("/desk/grid?drop=1").status_code == 400


def test_who_may_only_read_is_offered_nothing_to_decide(ann: Browser) -> None:
    page = Application(ann.app).person("rita", "read").get("/desk/grid").text
    assert "150 pictures" in page and form(page) == [] and 'value="reject">Reject' not in page


def test_views_are_kept_for_each_person(ann: Browser) -> None:
    bob = Application(ann.app).person("bob")
    kept = ann.post("/desk/views", [("title", f"mine {HOSTILE}"), ("query", "decision=reject&page=2&style=")])
    assert kept.headers["location"] == "/desk/grid?decision=reject"
    ann.post("/desk/views", [("title", f"mine {HOSTILE}"), ("query", "decision=accept")])
    page = ann.get("/desk/grid").text
    assert page.count('class="view"') == 1 and 'href="/desk/grid?decision=accept"' in page and HOSTILE not in page
    assert 'class="view"' not in bob.get("/desk/grid").text
    bob.post("/desk/views", [("gone", f"mine {HOSTILE}"), ("query", "")])
    assert 'class="view"' in ann.get("/desk/grid").text
    ann.post("/desk/views", [("gone", f"mine {HOSTILE}"), ("query", "")])
    assert 'class="view"' not in ann.get("/desk/grid").text


def test_a_view_that_is_none_is_not_kept(ann: Browser) -> None:
    for title, query in (("", "q=a"), ("x" * 61, "q=a"), ("a", "javascript=1"), ("a\nb", ""), ("a", "page=-1")):
        assert ann.post("/desk/views", [("title", title), ("query", query)]).status_code == 400
    for number in range(MOST):
        assert ann.post("/desk/views", [("title", f"{number}"), ("query", "")]).status_code == 303
    assert ann.post("/desk/views", [("title", "one more"), ("query", "")]).status_code == 400


def test_names_and_texts_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    told = {name: f"{name} {HOSTILE}" for name in ("sku", "title", "sender", "style", "category")}
    row = verdict(f"{HOSTILE}.png", "review", reasons=[f"{HOSTILE}: 1"], findings=[finding(HOSTILE, HOSTILE)], **told)
    folder = write_verdicts(tmp_path / "out", [row], batch_id=HOSTILE)
    page = (
        Application.over(folder).person(HOSTILE).get("/desk/grid", params={"q": "onerror", "style": HOSTILE[:-1]}).text
    )
    assert "0 pictures" in page and "<img src=x" not in page and f'"{HOSTILE}' not in page
    page = Application.over(folder).person(HOSTILE).get("/desk/grid", params={"q": "onerror"}).text
    assert "1 picture" in page and "<img src=x" not in page and "style &lt;img src=x" in page


def test_files_that_cannot_be_read_are_told_on_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "verdicts.parquet").write_text("no Parquet")
    answer = Application.over(tmp_path / "bad").person("ann").get("/desk/grid")
    assert answer.status_code == 503 and "This cannot be shown" in answer.text and answer.headers["Retry-After"]


def test_a_small_picture_is_that_of_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    rows = [verdict("a.jpg", preview=b"\xff\xd8 a"), verdict("b.jpg", preview=b"\xff\xd8 b"), verdict("c.jpg")]
    application = Application.over(write_verdicts(tmp_path / "out", rows))
    rita = application.person("rita", "read")
    items = {each.path: each.id for each in application.app.state.service.review.now().items}
    for name in ("a", "b"):
        shown = rita.get(f"/v1/queue/{items[f'{name}.jpg']}/preview")
        assert shown.content == b"\xff\xd8 " + name.encode() and shown.headers["content-type"] == "image/jpeg"
    assert rita.get(f"/v1/queue/{items['c.jpg']}/preview").status_code == 410, "neither a small one nor the picture"
