"""The audit finds a difference that damage does not explain, and is silent on one that it does."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from packshot.catalog.shop.records import CatalogUnreadable
from packshot.config import AuditSettings, load_settings
from packshot.serving.audit import LIGHTNESS, NothingToAudit, audit, audit_slices, product_lightness

RULES = AuditSettings(max_gap=0.05, confidence=0.95, min_images=30, min_groups=10)
PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def batch(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Scores that sharpness explains, in two categories; shoes are much less sharp."""
    random = np.random.default_rng(seed)
    category = np.where(np.arange(rows) % 4 == 0, "shoes", "shirts")
    sharpness = np.where(category == "shoes", 0.3, 0.8) + random.normal(0, 0.1, rows)
    frame = pd.DataFrame(
        {"category": category, "sharpness": sharpness, "sender": random.integers(0, 60, rows).astype(str)}
    )
    frame["quality"] = 0.2 + 0.6 * sharpness + random.normal(0, 0.05, rows)
    frame["decision"] = np.where(frame["quality"] > 0.5, "accept", "reject")
    frame["colour_balance"], frame["detail"] = random.uniform(0.5, 1, rows), random.uniform(0.5, 1, rows)
    frame["width"], frame["height"] = 400, random.integers(300, 600, rows)
    frame["sku"], frame["style"], frame["error"] = None, None, None
    frame["path"] = [f"{i}.jpg" for i in range(rows)]
    frame["brightness"], frame["white_share"] = random.uniform(0.2, 0.9, rows), 0.1
    return frame


def finding(frame: pd.DataFrame, value: str, by: str = "category") -> str:
    slices, _ = audit_slices(frame, [by], RULES)
    return {one.value: one.finding for one in slices}[value]


def test_a_gap_that_damage_explains_is_no_finding() -> None:
    slices, explained = audit_slices(batch(), ["category"], RULES)
    shoes = next(one for one in slices if one.value == "shoes")
    assert shoes.raw_gap < -0.25 and shoes.finding == "none" and shoes.low < 0 < shoes.high
    assert explained > 0.8


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_planted_gap_is_found_with_its_size(sign: int) -> None:
    frame = batch()
    frame.loc[frame["category"] == "shoes", "quality"] += sign * 0.1
    slices, _ = audit_slices(frame, ["category"], RULES)
    shoes = next(one for one in slices if one.value == "shoes")
    assert shoes.finding == "gap" and shoes.gap == pytest.approx(sign * 0.1, abs=0.03)
    assert shoes.low < sign * 0.1 < shoes.high


def test_a_gap_below_the_bound_is_no_finding_however_sure() -> None:
    frame = batch(4000)
    frame.loc[frame["category"] == "shoes", "quality"] -= 0.03
    slices, _ = audit_slices(frame, ["category"], RULES)
    shoes = next(one for one in slices if one.value == "shoes")
    assert shoes.high < 0 and shoes.finding == "none"


def test_pictures_of_one_sender_are_one_piece_of_evidence() -> None:
    frame = batch()
    shoes = frame["category"] == "shoes"
    frame.loc[shoes, "quality"] -= 0.1
    frame.loc[shoes, "sender"] = "one"
    assert finding(frame, "shoes") == "too few groups"


def test_senders_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    frame = batch()
    sender = frame["sender"].astype(int)
    frame["quality"] += random.normal(0, 0.1, 60)[sender]
    frame["category"] = np.where(sender % 3 == 0, "shoes", "shirts")
    width = {}
    for name, data in {"sender": frame, "alone": frame.assign(sender=None)}.items():
        slices, _ = audit_slices(data, ["category"], RULES)
        width[name] = slices[0].high - slices[0].low
    assert width["sender"] > 1.5 * width["alone"]


def test_no_finding_where_nothing_was_planted() -> None:
    found = [
        one.finding
        for seed in range(40)
        for one in audit_slices(batch(seed=seed), ["category"], RULES.model_copy(update={"max_gap": 0.0}))[0]
    ]
    assert len(found) >= 80 and found.count("gap") <= 6


def test_a_slice_that_is_the_damage_cannot_be_told_apart() -> None:
    frame = batch()
    frame["detail"] = np.where(frame["category"] == "shoes", 0.2, 0.9)
    assert finding(frame, "shoes") == "cannot be told apart"


def test_lightness_is_that_of_the_product_not_of_its_ground() -> None:
    frame = pd.DataFrame({"brightness": [0.9, 0.5, 0.2], "white_share": [0.85, 0.0, 0.0]})
    # nine tenths bright, but nearly all of it ground: what is left is (0.9 - 0.85 * 250 / 255) / 0.15 = 0.44
    assert product_lightness(frame).tolist() == ["medium", "light", "dark"]


def written(folder: Path, frame: pd.DataFrame) -> Path:
    folder.mkdir()
    frame.to_parquet(folder / "verdicts.parquet")
    return folder


def test_the_audit_of_a_folder_leaves_a_table_and_a_plot(tmp_path: Path) -> None:
    frame = batch()
    frame.loc[0, ["error", "quality"]] = "truncated: cut off", np.nan
    kids = pd.DataFrame({"path": frame["path"], "kids": np.arange(len(frame)) % 2 == 0})
    kids.to_csv(tmp_path / "shop.csv", index=False)
    folder = written(tmp_path / "out", frame)
    found = audit(load_settings(PARAMS), folder, ["category", LIGHTNESS, "kids"], tmp_path / "shop.csv")
    assert found.rows == len(frame) - 1
    table = pd.read_csv(found.table)
    assert set(table["by"]) == {"category", LIGHTNESS, "kids"} and set(table.loc[table["by"] == "kids", "value"]) == {
        "True",
        "False",
    }
    assert found.plot.read_bytes().startswith(b"\x89PNG")


def test_the_catalogue_fills_in_what_scoring_did_not_know(tmp_path: Path) -> None:
    frame = batch()
    known = frame[["path", "category", "sender"]].rename(columns={"sender": "seller"})
    known.loc[0, "category"] = "boats"
    known.to_csv(tmp_path / "shop.csv", index=False)
    frame.loc[1:, "category"] = None
    frame["sender"] = None
    settings = load_settings(PARAMS)
    columns = settings.catalog.columns | {"sender": "seller"}
    settings = settings.model_copy(update={"catalog": settings.catalog.model_copy(update={"columns": columns})})
    folder = written(tmp_path / "out", frame)
    found = audit(settings, folder, ["category", "sender"], tmp_path / "shop.csv")
    assert {(one.value, one.images) for one in found.slices} == {("shirts", 300), ("shoes", 100)}
    assert {one.groups for one in found.slices} <= set(range(30, 61)), "pictures of one seller are one group"
    assert found.not_compared == ("sender",) and found.as_record()["not_compared"] == ["sender"]
    with pytest.raises(NothingToAudit):
        audit(settings, folder, ["category"])


def test_what_cannot_be_audited_says_what_to_do(tmp_path: Path) -> None:
    settings = load_settings(PARAMS)
    folder = written(tmp_path / "out", batch())
    with pytest.raises(NothingToAudit, match="--catalog"):
        audit(settings, folder, ["kids"])
    (tmp_path / "shop.csv").write_text("path,price\na.jpg,3\n")
    with pytest.raises(CatalogUnreadable, match=r"'kids'.*path, price"):
        audit(settings, folder, ["kids"], tmp_path / "shop.csv")
    with pytest.raises(NothingToAudit, match=r"audit\.min_images"):
        audit(settings, written(tmp_path / "small", batch(40)), ["category"])


def test_the_gap_is_the_coefficient_of_belonging_beside_damage_and_size() -> None:
    frame = batch()
    frame.loc[frame["category"] == "shoes", "quality"] += 0.07
    damage = frame[["sharpness", "colour_balance", "detail"]].to_numpy(dtype=float)
    size = np.log(frame["width"].astype(float) * frame["height"])
    belongs = (frame["category"] == "shoes").to_numpy(dtype=float)
    columns = np.column_stack([belongs, np.ones(len(frame)), damage, size])
    expected = np.linalg.lstsq(columns, frame["quality"].to_numpy(), rcond=None)[0][0]
    slices, _ = audit_slices(frame, ["category"], RULES)
    shoes = next(one for one in slices if one.value == "shoes")
    assert shoes.gap == pytest.approx(expected, abs=1e-9)
    assert shoes.images == belongs.sum() and shoes.groups == frame.loc[belongs > 0, "sender"].nunique()


def test_names_of_senders_are_no_formulas_in_the_table(tmp_path: Path) -> None:
    frame = batch()
    frame["sender"] = np.where(frame["category"] == "shoes", "=cmd|' /C calc'!A0", "ann")
    audit(load_settings(PARAMS), written(tmp_path / "batch", frame), by=["sender"])
    table = (tmp_path / "batch" / "audit.csv").read_text()
    assert "sender,'=cmd|" in table
    assert ",=cmd" not in table
