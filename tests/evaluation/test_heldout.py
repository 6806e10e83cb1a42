"""Held-out scoring on small drawn pictures, with judges whose worth is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from packshot.catalog.manifest import COLUMNS, write_manifest
from packshot.config import Profile, Settings, load_settings
from packshot.evaluation import heldout
from packshot.evaluation.classic import tune
from packshot.evaluation.heldout import (
    HeldOut,
    HeldOutError,
    enhance_figures,
    labelled_rows,
    ladder_figures,
    score_heldout,
    score_heldout_once,
)
from packshot.evaluation.metrics import MetricError, psnr
from packshot.evaluation.pairs import mixed_pairs, pristine_rows
from packshot.evaluation.run import draw, fold_figures
from packshot.files import write_json

STYLES = ("modern", "rustic")
PER_SPLIT = 60


class SharpnessJudge:
    """Scores by the energy of the Laplacian, names the style by the colour of the first pixel, enhances by a blur."""

    def blind_heads(self, image_ids: Sequence[str], groups: Sequence[str]) -> None:
        return None

    def judge(self, images: Sequence[Any], texts: Sequence[str | None] | None = None, heads: None = None) -> list[Any]:
        return [self._one(image) for image in images]

    def _one(self, image: Any) -> Any:
        energy = float(np.std(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F)))
        quality = energy / (energy + 20)
        return SimpleNamespace(
            quality=quality,
            quality_low=max(0.0, quality - 0.2),
            quality_high=min(1.0, quality + 0.2),
            sharpness=quality,
            colour_balance=float(image.mean()) / 255,
            detail=1 - quality,
            style=STYLES[int(image[0, 0, 0] > 127)],
            style_confidence=0.9,
        )

    def enhance(self, image: Any) -> Any:
        return cv2.GaussianBlur(image, (3, 3), 0)


@pytest.fixture(scope="module")
def settings() -> Settings:
    loaded = load_settings(Path(__file__).resolve().parents[2] / "params.yaml")
    profile = Profile(
        sets=("shop",),
        quality=("shop",),
        style=("shop",),
        catalogue=("shop",),
        pristine=("shop",),
        held_back={},
        floors={},
        ceilings={},
    )
    small = loaded.evaluation.model_copy(update={"pairs": 8, "crop": 64, "singles": 1})
    return loaded.model_copy(update={"profiles": {"own": profile}, "evaluation": small})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of texture, blurred the more the lower their score; subset b is worse than a; red means rustic."""
    root = tmp_path_factory.mktemp("workspace")
    random = np.random.default_rng(0)
    rows = []
    for i in range(3 * PER_SPLIT):
        subset, split = "ab"[i % 2], ("train", "validation", "test")[i // PER_SPLIT]
        mos = float(np.clip((0.7 if subset == "a" else 0.4) + random.normal(0, 0.15), 0.02, 0.98))
        picture = cv2.resize(random.integers(0, 255, (24, 24, 3), np.uint8), (96, 80), interpolation=cv2.INTER_CUBIC)
        picture = cv2.GaussianBlur(picture, (0, 0), 0.3 + 4 * (1 - mos))
        rustic = random.random() < 0.7
        picture[:2, :2] = (255 if rustic else 0, 0, 0)
        path = root / "data/raw/images/shop" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        rows.append(
            {
                "image_id": f"{i:064x}",
                "path": f"shop/{i:03d}.png",
                "source": "shop",
                "subset": subset,
                "quality_mos": mos,
                "style": STYLES[rustic] if i % 3 else None,
                "group": f"g{i // 2}",
                "split": split,
            }
        )
    frame = pd.DataFrame(rows)
    write_manifest(root / "data/splits/manifest.parquet", frame.reindex(columns=list(COLUMNS)))
    record = {"rows": len(rows), "held_back": 0, "address": "here", "licence": "CC0", "styles": list(STYLES)}
    source = {"profile": "own", "chosen": "own", "why": "", "fingerprint": "0", "collected_at": ""}
    write_json(root / "data/raw/source.json", source | {"sets": {"shop": record}})
    return root


@pytest.fixture(scope="module")
def scored(settings: Settings, workspace: Path) -> HeldOut:
    return score_heldout(SharpnessJudge(), settings, workspace)  # type: ignore[arg-type]


class TwoHeads(SharpnessJudge):
    """Head 1 has not seen the even groups, head 0 not the odd ones; each says which it is."""

    def blind_heads(self, image_ids: Sequence[str], groups: Sequence[str]) -> list[int]:
        assert len(image_ids) == len(groups)
        return [1 - int(group[1:]) % 2 for group in groups]

    def judge(self, images: Sequence[Any], texts: Any = None, heads: Sequence[int] | None = None) -> list[Any]:
        found = [self._one(image) for image in images]
        for each, head in zip(found, heads or [None] * len(found), strict=True):
            each.quality = 0.9 if head is None else 0.2 + 0.1 * head
            each.quality_low, each.quality_high = 0.0, 1.0
        return found


def test_held_out_rows_are_judged_by_the_head_that_is_blind_to_their_group(settings: Settings, workspace: Path) -> None:
    rows = score_heldout(TwoHeads(), settings, workspace).per_image  # type: ignore[arg-type]
    even = rows["group"].str[1:].astype(int) % 2 == 0
    assert even.any() and (~even).any()
    assert rows["quality"].to_numpy() == pytest.approx(np.where(even, 0.3, 0.2))


def test_every_labelled_test_row_is_scored_once_and_no_other(
    scored: HeldOut, settings: Settings, workspace: Path
) -> None:
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet")
    expected = set(manifest[manifest["split"] == "test"]["path"])
    assert set(scored.per_image["path"]) == expected and len(scored.per_image) == PER_SPLIT
    assert set(scored.per_pair["image_id"]) <= set(scored.per_image["image_id"])
    assert len(scored.per_pair) == settings.evaluation.pairs


def test_figures_of_a_judge_of_known_worth(scored: HeldOut) -> None:
    found = scored.metrics
    assert found["quality/srcc/shop"] > 0.85
    assert 0.3 < found["quality/srcc_subset_baseline/shop"] < found["quality/srcc/shop"]
    assert found["style/accuracy/shop"] == 1.0 and found["style/accuracy_majority/shop"] < 0.9
    assert found["style/ece/shop"] == pytest.approx(0.1)
    sharp = scored.per_single[scored.per_single["attribute"] == "sharpness"]
    assert found["attributes/srcc/sharpness"] == pytest.approx(sharp["judged"].corr(sharp["reference"], "spearman"))
    assert {"quality/srcc/shop/a", "quality/srcc_within/shop", "quality/coverage/shop/b"} <= set(found)
    gain = (scored.per_pair["psnr_out"] - scored.per_pair["psnr_in"]).mean()
    assert found["enhance/psnr_gain"] == pytest.approx(gain)
    assert all(np.isfinite(value) for value in found.values())
    json.dumps(found, allow_nan=False)


def test_a_pristine_crop_counts_as_harmed_from_a_point_of_a_hundred(scored: HeldOut) -> None:
    few = scored.per_pair.head(4).assign(quality_pristine_in=0.5, quality_pristine_out=[0.495, 0.48, 0.6, 0.5])
    assert enhance_figures(few)["enhance/share_pristine_lower"] == pytest.approx(0.25)


def test_ladders_tell_a_good_attribute_from_a_bad_one() -> None:
    def ladder(degradation: str, attribute: str | None, levels: range, **seen: list[float]) -> list[dict[str, object]]:
        return [
            {
                "image_id": "a",
                "group": "a",
                "quality": 0.5,
                "degradation": degradation,
                "level": level,
                "attribute": attribute,
                "reference": 1 - level / 10,
                **{name: seen.get(name, [0.9] * 5)[place] for name in ("sharpness", "colour_balance", "detail")},
            }
            for place, level in enumerate(levels)
        ]

    falling, wavering = [0.8, 0.7, 0.6, 0.5, 0.4], [0.8, 0.85, 0.6, 0.5, 0.4]
    rows = pd.DataFrame(
        ladder("none", None, range(1))
        + ladder("blur", "sharpness", range(1, 6), sharpness=falling, detail=[0.8] * 5)
        + ladder("shake", "sharpness", range(1, 6), sharpness=wavering)
        + ladder("noise", "detail", range(1, 6), detail=falling)
    )
    rows["judged"] = [row[row["attribute"]] if row["level"] else np.nan for _, row in rows.iterrows()]
    assert ladder_figures(rows)["attributes/monotone/sharpness"]() == 0.5
    with pytest.raises(MetricError):
        ladder_figures(rows)["attributes/own_to_other/sharpness"]()  # nothing else ever moves it
    assert ladder_figures(rows)["attributes/monotone/detail"]() == 1.0
    assert ladder_figures(rows)["attributes/own_to_other/detail"]() == pytest.approx(0.3 / 0.05)
    with pytest.raises(MetricError):
        ladder_figures(rows)["attributes/monotone/colour_balance"]()


def test_the_same_again_is_the_same(scored: HeldOut, settings: Settings, workspace: Path) -> None:
    again = score_heldout(SharpnessJudge(), settings, workspace)  # type: ignore[arg-type]
    assert again.metrics == scored.metrics
    pd.testing.assert_frame_equal(again.per_pair, scored.per_pair)


def test_scores_are_kept_for_the_same_bundle_and_only_for_it(
    settings: Settings, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    loaded = []

    def load(folder: Path, device: str = "auto") -> SharpnessJudge:
        loaded.append(folder)
        return SharpnessJudge()

    monkeypatch.setattr(heldout.Judge, "load", load, raising=False)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    first = score_heldout_once(bundle, settings, workspace)
    second = score_heldout_once(bundle, settings, workspace)
    assert len(loaded) == 1 and second.metrics == first.metrics
    pd.testing.assert_frame_equal(first.per_image, second.per_image, check_dtype=False)
    (bundle / "bundle.json").write_text("{ }")
    score_heldout_once(bundle, settings, workspace)
    assert len(loaded) == 2


def test_a_judge_that_answers_nan_is_an_error(settings: Settings, workspace: Path) -> None:
    class Broken(SharpnessJudge):
        def _one(self, image: Any) -> Any:
            return SimpleNamespace(**{**vars(super()._one(image)), "quality": float("nan")})

    with pytest.raises(HeldOutError, match="quality = NaN"):
        score_heldout(Broken(), settings, workspace)  # type: ignore[arg-type]


def test_a_figure_that_is_undefined_is_absent(settings: Settings, workspace: Path) -> None:
    class Flat(SharpnessJudge):
        def _one(self, image: Any) -> Any:
            known = {"quality": 0.5, "quality_low": 0.4, "quality_high": 0.6}
            return SimpleNamespace(**{**vars(super()._one(image)), **known})

    found = score_heldout(Flat(), settings, workspace).metrics  # type: ignore[arg-type]
    assert "quality/srcc/shop" not in found and "style/accuracy/shop" in found


def test_no_labelled_row_is_an_error(settings: Settings, workspace: Path) -> None:
    bare = settings.profiles["own"].model_copy(update={"quality": (), "style": ()})
    with pytest.raises(HeldOutError, match="no row of split 'test'"):
        labelled_rows(bare, workspace, "test")


def test_added_data_does_not_reshuffle_the_pairs(settings: Settings, workspace: Path) -> None:
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet")
    profile = settings.profiles["own"]
    few = pristine_rows(manifest, profile, "test", 1000, seed=1)
    more = pristine_rows(manifest.iloc[::-1], profile, "test", 8, seed=1)
    assert list(more["image_id"]) == list(few["image_id"])[:8]
    one, two = (list(mixed_pairs(rows.head(3), settings, workspace)) for rows in (few, more))
    assert [pair.degradations for pair in one] == [pair.degradations for pair in two]
    assert all(np.array_equal(a.degraded, b.degraded) for a, b in zip(one, two, strict=True))


def test_the_classic_chain_is_tuned_to_what_is_wrong() -> None:
    random = np.random.default_rng(0)
    clean = [cv2.GaussianBlur(random.integers(0, 255, (64, 64, 3), np.uint8), (0, 0), 6) for _ in range(3)]
    noisy = [np.clip(i + random.normal(0, 20, i.shape), 0, 255).astype(np.uint8) for i in clean]
    chain = tune(list(zip(clean, noisy, strict=True)))
    assert chain.denoise > 0 and chain.sharpen == 0
    assert all(psnr(c, chain(n)) > psnr(c, n) + 3 for c, n in zip(clean, noisy, strict=True))
    idle = tune([(c, c) for c in clean])
    assert (idle.clip_limit, idle.denoise, idle.sharpen) == (0, 0, 0)


def test_fold_figures_are_the_mean_over_folds(settings: Settings) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"source": "shop", "fold": np.arange(180) % 3, "quality_mos": random.uniform(0, 1, 180)})
    frame["quality_oof"] = frame["quality_mos"] + random.normal(0, 0.1, 180)
    frame["style"], frame["style_oof"] = "modern", np.where(np.arange(180) < 90, "modern", "rustic")
    frame["style_confidence_oof"] = 0.8
    frame["subset"] = np.where(np.arange(180) < 100, "plain", "busy")
    found = fold_figures(frame, settings.profiles["own"])
    by_fold = [part["quality_oof"].corr(part["quality_mos"], "spearman") for _, part in frame.groupby("fold")]
    assert found["quality/srcc_folds/shop"] == pytest.approx(np.mean(by_fold))
    assert found["quality/srcc_folds_std/shop"] == pytest.approx(np.std(by_fold, ddof=1))
    assert found["style/accuracy_folds/shop"] == pytest.approx(0.5)
    assert found["quality/srcc_within_folds/shop"] == pytest.approx(
        np.mean([found["quality/srcc_folds/shop/plain"], found["quality/srcc_folds/shop/busy"]])
    )
    assert found["style/ece_folds/shop"] == pytest.approx(0.3)
    frame.loc[frame["fold"] == 1, "quality_oof"] = 0.5
    assert "quality/srcc_folds/shop" not in fold_figures(frame, settings.profiles["own"])


def test_plots_and_tables_are_written(scored: HeldOut, settings: Settings, tmp_path: Path) -> None:
    found = {**scored.metrics, "quality/srcc_folds/shop": 0.8, "quality/srcc_folds_std/shop": 0.02}
    draw(scored, found, settings.profiles["own"], settings, tmp_path / "plots")
    written = {path.name for path in (tmp_path / "plots").iterdir()}
    assert written == {
        *("quality_shop.png", "srcc_shop.png", "coverage_shop.png", "style_shop.png", "reliability_shop.png"),
        *("enhance_gain.png", "quality.csv", "style.csv", "enhance.csv"),
    }
    assert list(pd.read_csv(tmp_path / "plots/quality.csv").columns) == ["predicted", "actual", "subset"]
