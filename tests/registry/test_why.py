"""One verdict followed back, on a real ledger, MLflow and git history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_verdicts import broken, finding, verdict, write_verdicts
from skilled_models import Shop

from packshot.exports.pictures import digest_of
from packshot.exports.source import open_verdicts
from packshot.exports.why import RowUnknown, why
from packshot.exports.why_page import page
from packshot.home import Home
from packshot.registry.approval import record_answer
from packshot.registry.lineage import Lineage
from packshot.registry.models import DIGEST_TAG, model_version, reference
from packshot.registry.promote import promote
from packshot.revision import run_key
from packshot.workspace import Workspace

PATH = "chairs/12.jpg"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    (tmp_path / "images/chairs").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "images" / PATH)
    return tmp_path / "images"


def rows(images: Path) -> list[dict[str, Any]]:
    known = verdict(
        PATH,
        "review",
        0.5,
        image_id=digest_of(images / PATH),
        profile="marketplace",
        findings=[finding("white_ground", "Use a white background.")],
        measures=[("white_border", 0.4)],
        reasons=["white_ground: 0.40 is below 0.80", "no_gain: enhancing changes quality by +0.001"],
        quality_after=0.501,
    )
    return [known, broken("chairs/bad\x1b[31m.jpg")]


def champion(shop: Shop) -> Lineage:
    """Version 1, judged by the gates, approved, promoted."""
    version = shop.register(0.9)
    record_answer(shop.settings, version, approved=True, by="ann", started_by="bo")
    promote(shop.settings, challenger=version, workspace=shop.workspace)
    return reference(model_version(shop.settings, str(version)))


def publish(shop: Shop, home: Home) -> str:
    """A catalogue whose history holds the data and the model."""
    catalog, key = Workspace(home.workspaces / "catalog"), run_key(shop.settings, shop.workspace)
    catalog.root.mkdir(parents=True)
    catalog.run("git", "init", "--quiet", quiet=True)
    commit = catalog.commit(f"data {key.data_rev}")
    catalog.run("git", "tag", f"model-{key.short}", quiet=True)
    return commit


def scored(folder: Path, images: Path | None, model: Lineage, digest: str) -> list[Any]:
    lineage = {name: getattr(model, name) for name in ("run_id", "data_rev", "code_rev", "params_hash")}
    judged = rows(images) if images is not None else [verdict(PATH)]
    return open_verdicts(
        [write_verdicts(folder, judged, version=model.model_version, images=images, digest=digest, **lineage)]
    )


def test_a_verdict_is_followed_to_the_gates_the_approval_and_the_data(
    shop: Shop, home: Home, images: Path, tmp_path: Path
) -> None:
    model, commit = champion(shop), publish(shop, home)
    digest = model_version(shop.settings, "1").tags[DIGEST_TAG]
    record = why(shop.settings, scored(tmp_path / "v", images, model, digest), PATH)
    assert [check["holds"] for check in record["checks"]] == [True, True, True]
    assert record["missing"] == []
    found = record["model"]
    assert found["registered"]["actor"] == "tester" and found["answers"][0]["actor"] == "ann"
    assert found["gates"]["payload"]["outcome"] == "promoted"
    assert {gate["metric"] for gate in found["gates"]["payload"]["gates"]} >= {"quality/srcc/shop"}
    assert [reign["until"] for reign in found["champion"]] == [None]
    assert found["mlflow"]["run_id"] == model.run_id
    assert record["data"]["commit"] == record["code"]["commit"] == commit
    assert any("dvc pull" in command for command in record["data"]["commands"])
    assert record["enhanced"] == {"quality_after": 0.501, "gain": pytest.approx(0.001), "kept": False, "file": None}
    text = page(record)
    for said in (
        "white_ground: 0.4, bound 0.8",
        "Use a white background.",
        "approved",
        "by ann",
        model.data_rev,
        "yes",
    ):
        assert said in text
    assert text.index("1. white_ground") < text.index("2. no_gain")
    assert "Not on record" not in text


def test_a_changed_picture_and_another_model_break_the_chain(
    shop: Shop, home: Home, images: Path, tmp_path: Path
) -> None:
    model = champion(shop)
    publish(shop, home)
    other = Lineage(model.model_name, 1, model.run_id, "another", model.code_rev, model.params_hash)
    files = scored(tmp_path / "v", images, other, "e" * 64)
    (images / PATH).write_bytes(b"something else")
    record = why(shop.settings, files, f"monday/{PATH}")
    assert [check["holds"] for check in record["checks"]] == [False, False, False]
    assert "NO   the file on disk" in page(record)
    assert any("data revision another" in text for text in record["missing"])


def test_what_is_not_on_record_is_said(shop: Shop, home: Home, images: Path, tmp_path: Path) -> None:
    nobody = Lineage("packshot")
    files = scored(tmp_path / "v", images, nobody, "e" * 64)
    (images / PATH).unlink()
    record = why(shop.settings, files, PATH)
    said = " ".join(record["missing"])
    assert "never registered" in said and "no such file" in said and "--model" in said
    unknown = Lineage("packshot", 7, "run", "data", "code", "params")
    record = why(shop.settings, scored(tmp_path / "w", None, unknown, "e" * 64), PATH)
    said = " ".join(record["missing"])
    for part in ("registration of version 7", "gates on version 7", "in MLflow", "data revision data", "model-"):
        assert part in said


def test_a_file_that_was_not_judged_and_hostile_names_make_a_page_too(
    shop: Shop, home: Home, images: Path, tmp_path: Path
) -> None:
    files = scored(tmp_path / "v", images, Lineage("packshot"), "e" * 64)
    text = page(why(shop.settings, files, "chairs/bad\x1b[31m.jpg"))
    assert "\x1b" not in text and "not_an_image" in text
    with pytest.raises(RowUnknown, match=r"there is chairs/12\.jpg"):
        why(shop.settings, files, "12.jpg")
    twice = [*files, *open_verdicts([write_verdicts(tmp_path / "w", [verdict(PATH)], batch_id="tuesday")])]
    with pytest.raises(RowUnknown, match=r"monday/chairs/12\.jpg, tuesday/chairs/12\.jpg"):
        why(shop.settings, twice, PATH)
