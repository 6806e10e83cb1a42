"""Labels as Label Studio's JSON: what leaves comes back the same, and what is no export is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packshot.catalog.label_studio import NotLabelStudio, rows, tasks
from packshot.catalog.labels import Label, Picture

TEXTS = {"sku": None, "title": 'Chair, "oak"', "sender": None, "category": None}


def label(who: str, when: str, **said: Any) -> Label:
    told = {"quality_mos": None, "style": None, "decision": None} | said
    facts = {"image_id": "a" * 64, "file": "images/a.png", "batch": "one", "path": "a.png", "why": None}
    return Label(who=who, when=when, **facts, **TEXTS, **told)


def written(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / "tasks.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def task(*annotations: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"id": 1, "project": 3, "data": {"image": "x", "path": "a.png", "batch": "one"}, "annotations": annotations}
    ]


def annotation(name: str, value: Any, **more: Any) -> dict[str, Any]:
    kind = next(iter(value)) if isinstance(value, dict) else ""
    result = [{"from_name": name, "to_name": "image", "type": kind, "value": value}]
    told = {"result": result, "created_at": "2026-03-01T10:00:00.5Z", "completed_by": {"email": "ann@shop.example"}}
    return told | more


def test_what_leaves_comes_back_the_same(tmp_path: Path) -> None:
    labels = [
        label("ann", "2026-03-01T10:00:00+00:00", quality_mos=0.25, style="rustic"),
        label("bob", "2026-03-02T10:00:00+00:00", decision="reject"),
        label("ann", "2026-03-03T10:00:00+00:00", quality_mos=0.5),
    ]
    waiting = [Picture(each * 64, "one", f"{each}.png", Path(f"{each}.png")) for each in "ab"]
    made = tasks(labels, waiting, lambda picture: f"https://shop.example/{picture.path}")
    assert [one["data"]["image"] for one in made] == ["https://shop.example/a.png", "https://shop.example/b.png"]
    assert made[0]["data"]["title"] == TEXTS["title"] and made[1]["annotations"] == []
    ann, bob = rows(written(tmp_path, made))
    assert (ann["who"], ann["quality_mos"], ann["style"], ann["decision"]) == ("ann", "0.5", "rustic", "")
    assert (ann["image_id"], ann["when"]) == ("a" * 64, "2026-03-03T10:00:00+00:00")
    assert (bob["who"], bob["decision"], bob["quality_mos"]) == ("bob", "reject", "")


def test_of_an_export_the_newest_of_each_person_counts_and_what_was_skipped_does_not(tmp_path: Path) -> None:
    found = rows(
        written(
            tmp_path,
            task(
                annotation("quality", {"number": 1}, created_at="2026-03-04"),
                annotation("quality", {"number": 0.5}),
                annotation("decision", {"choices": ["accept"]}, completed_by=7),
                annotation("style", {"choices": ["modern"]}, was_cancelled=True, completed_by=8),
                annotation("box", {"rectanglelabels": ["x"]}, completed_by=9),
                annotation("who", {"text": ["eve"]}, completed_by=10),
                {"result": [{"type": "relation", "from_id": "a"}]},
            ),
        )
    )
    said = [(row["who"], row["quality_mos"], row["decision"], row["path"]) for row in found]
    assert said == [("ann@shop.example", "1", "", "a.png"), ("label-studio 7", "", "accept", "a.png")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no export"),
        ("{}", "no export"),
        ([{"annotations": []}], "data"),
        (task(annotation("quality", {"rating": 4})), "one number is expected under quality"),
        (task(annotation("quality", {"number": True})), "not True"),
        (task(annotation("quality", {"number": [0.5]})), "one number"),
        (task(annotation("style", {"choices": ["modern", "rustic"]})), "one choices is expected under style"),
        (task(annotation("decision", {"choices": "accept"})), "one choices"),
        (task(annotation("decision", {"choices": ["accept"]}, created_at="yesterday")), "ISO 8601"),
        (task(annotation("decision", {"choices": ["accept"]}, completed_by="ann")), "completed_by"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(NotLabelStudio, match=says):
        rows(written(tmp_path, content))
