import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from small_network import save_small_bundle, small_architecture
from small_workspace import make_settings, make_workspace, picture

from packshot.bundle import Judgement
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.metrics import MetricError
from packshot.inference.kept import CalibrationDamaged, folder_of
from packshot.scoring.batch import score
from packshot.scoring.calibrate import Answers, calibrate, compare, fastest
from packshot.scoring.runtime import NotCalibrated, choose_runtime
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import read_manifest, work_id


def judged(quality: float) -> Judgement:
    nothing = np.zeros(2, np.float32)
    return Judgement(quality, quality - 0.1, quality + 0.1, 0.8, 0.8, 0.8, "a", 0.9, nothing, nothing)


def answers(qualities: np.ndarray, seconds: float, enhanced: int = 100) -> Answers:
    image = np.full((8, 8, 3), enhanced, np.uint8)
    return Answers([judged(float(each)) for each in qualities], [image], seconds)


@pytest.fixture(scope="module")
def held_out() -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(0)
    mos = generator.uniform(0.1, 0.9, 200)
    return pd.DataFrame({"source": "own", "quality_mos": mos}), mos + generator.normal(0, 0.05, 200)


def test_the_fastest_that_judges_as_torch_does_is_chosen(held_out):
    rows, scores = held_out
    noisy = scores + np.random.default_rng(1).normal(0, 0.1, 200)
    rules = make_settings().scoring
    found = compare(
        {
            "torch": answers(scores, 10.0),
            "f32": answers(scores, 5.0),
            "bf16": answers(scores + 0.001, 3.0),
            "int8": answers(noisy - noisy.mean() + scores.mean(), 1.0),
        },
        rows,
        rules,
    )
    refused = {each.name: each.refused for each in found if each.refused}
    assert list(refused) == ["int8"] and "rank correlation falls" in refused["int8"]
    assert fastest(found).name == "bf16"


@pytest.mark.parametrize(("shift", "enhanced", "why"), [(0.02, 100, "shift"), (0.0, 103, "enhanced pictures")])
def test_a_runtime_that_moves_scores_or_pictures_is_refused(held_out, shift, enhanced, why):
    rows, scores = held_out
    both = {"torch": answers(scores, 10.0), "int8": answers(scores + shift, 1.0, enhanced)}
    found = compare(both, rows, make_settings().scoring)
    assert fastest(found).name == "torch"
    assert found[1].refused is not None and why in found[1].refused


def test_a_score_that_is_no_number_ends_the_calibration(held_out):
    rows, scores = held_out
    broken = np.where(np.arange(len(scores)) == 3, np.nan, scores)
    with pytest.raises(MetricError, match="NaN"):
        compare({"torch": answers(scores, 10.0), "int8": answers(broken, 1.0)}, rows, make_settings().scoring)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """Settings that accept any precision, a bundle, and the calibration of it, made once."""
    root = tmp_path_factory.mktemp("calibrated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root / "home"))
        settings = make_settings(threads=2)
        loose = {"max_srcc_loss": 1.0, "max_mean_shift": 1.0, "min_enhanced_psnr": 1.0, "quantisation_pictures": 8}
        settings = settings.model_copy(update={"scoring": settings.scoring.model_copy(update=loose)})
        bundle = save_small_bundle(root / "bundle", small_architecture())
        workspace = make_workspace(root / "workspace")
        yield settings, bundle, workspace, calibrate(settings, str(bundle), workspace)


def with_rules(settings, **rules):
    return settings.model_copy(update={"scoring": settings.scoring.model_copy(update=rules)})


def test_a_calibration_is_made_once_and_measures_every_precision(calibrated):
    settings, bundle, workspace, (record, made) = calibrated
    assert made and [each.name for each in record.measured] == ["torch", "f32", "bf16", "int8"]
    shifts = {each.name: each.max_shift for each in record.measured}
    assert shifts["torch"] == 0 < shifts["f32"] < 1e-4
    # A processor without instructions for bfloat16 computes it in float32: then the two are equal.
    assert shifts["f32"] <= shifts["bf16"] and shifts["f32"] < shifts["int8"]
    assert calibrate(settings, str(bundle), workspace) == (record, False)


def test_scoring_takes_what_was_calibrated_and_the_output_says_so(calibrated, tmp_path):
    settings, bundle, _, _ = calibrated
    images = tmp_path / "in"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), picture(number, 0, 0.0))
    chosen = with_rules(settings, runtime="openvino", precision="int8")
    score(chosen, images, tmp_path / "out", model=str(bundle))
    assert read_manifest(tmp_path / "out")["runtime"].startswith("openvino int8")
    others = [with_rules(settings, runtime="openvino", precision="bf16"), with_rules(settings, runtime="torch")]
    ids = {work_id(each, open_scorer(each, str(bundle))) for each in (chosen, *others)}
    assert len(ids) == 3
    looser = with_rules(chosen, max_srcc_loss=0.5)
    assert work_id(looser, open_scorer(looser, str(bundle))) in ids


def test_another_bundle_or_machine_does_not_take_it(calibrated, monkeypatch):
    settings, bundle, _, (record, _) = calibrated
    automatic = with_rules(settings, runtime="auto")
    assert choose_runtime(automatic, record.bundle_sha256).label.split()[0] in ("openvino", record.chosen)
    assert choose_runtime(automatic, "0" * 64).label.startswith("openvino f32")
    with pytest.raises(NotCalibrated):
        choose_runtime(with_rules(settings, runtime="openvino", precision="int8"), "0" * 64)
    int8 = with_rules(settings, runtime="openvino", precision="int8")
    before = choose_runtime(int8, record.bundle_sha256).label
    folder = folder_of(record.bundle_sha256)
    shutil.copytree(folder, folder_of("1" * 64))
    with pytest.raises(CalibrationDamaged, match="is of bundle"):
        choose_runtime(automatic, "1" * 64)
    (folder / "features-int8.bin").write_bytes(b"quantised anew")
    assert choose_runtime(int8, record.bundle_sha256).label != before
    monkeypatch.setattr("packshot.inference.kept.source_digest", lambda: "other code")
    assert choose_runtime(automatic, bundle_digest(bundle)).label.startswith("openvino f32")
