"""Adapting to unlabelled pictures: it ranks its own damage better, stays where it was, and says what it did."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_network import small_architecture
from small_workspace import make_settings, picture

from packshot import __version__
from packshot.bundle import FORMAT_VERSION, BundleRecord, Calibration, Judge, read_record
from packshot.config import Settings
from packshot.evaluation.adaptation import RANKING, compare, judged_ladders
from packshot.model import preprocess
from packshot.model.network import PackshotNet
from packshot.ops.adapt import OutputTaken, TooFewPictures, run
from packshot.scoring.listing import BatchFolderMissing
from packshot.trained import judge_of, save_bundle
from packshot.training.adapt import adapt, ladder_of, lessons
from packshot.training.pretrained import pretrained_backbone

PICTURES = 12


def adapting(**changes: object) -> Settings:
    raw = make_settings().model_dump(mode="json")
    small = {"steps": 12, "batch_size": 3, "crop": 72, "mixes": 2, "singles": 4, "margin": 1.0, "anchor": 0.01}
    raw["adapt"] |= {**small, "backbone_lr_factor": 0.1, **changes}
    raw["evaluation"]["bootstrap"] = 50
    return Settings.model_validate(raw)


@pytest.fixture(scope="module")
def network() -> PackshotNet:
    """A judge of random landmarks on real features, blind to damage: there is something to gain."""
    torch.manual_seed(2)
    found = PackshotNet(small_architecture())
    found.backbone = pretrained_backbone("efficientnet_lite0", None)
    stats = torch.cat([found.features(picture(number, number % 2, 0.0)).stats for number in range(30)]).detach()
    with torch.no_grad():
        found.trunk.mean.copy_(stats.mean(dim=0))
        found.trunk.scale.copy_(1 / (stats.std(dim=0) + 1e-3))
        found.trunk.linear.weight.normal_(0, 1)
        found.trunk.unit.fill_(float(found.trunk(stats).std()) * 5)
        found.damage.load_state_dict(found.trunk.state_dict())
        z = found.trunk(stats)
        for head in (found.quality, found.attributes):
            head.landmarks.copy_(z[: len(head.landmarks)])
            head.weights.normal_(0, 0.2)
    return found.eval().requires_grad_(False)


@pytest.fixture
def bundle(network, tmp_path):
    record = BundleRecord(
        format_version=FORMAT_VERSION,
        preprocessing_version=preprocess.VERSION,
        packshot_version=__version__,
        torch_version=str(torch.__version__),
        architecture=network.architecture,
        calibration=Calibration(temperature=1.0, interval_scale=1.0, interval_coverage=0.9, interval_rows=9),
        text_seen=False,
        profile="own",
        run_key={},
        recipe="tiny",
        epochs=1,
        best_epoch=0,
        metrics={},
    )
    save_bundle(tmp_path / "source", network, record)
    return tmp_path / "source"


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "photos"
    target.mkdir()
    for number in range(PICTURES):
        Image.fromarray(picture(number, number % 2, 0.0)).save(target / f"{number}.png")
    (target / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return target


def photographs(count: int = PICTURES) -> list[tuple[str, np.ndarray]]:
    return [(f"{number:03d}", picture(number, number % 2, 0.0)) for number in range(count)]


def copied(network: PackshotNet) -> PackshotNet:
    other = PackshotNet(network.architecture)
    other.load_state_dict(network.state_dict())
    return other.eval().requires_grad_(False)


def answers(network: PackshotNet, pictures: list[tuple[str, np.ndarray]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([network.overall(network.trunk(network.features(image).stats)) for _, image in pictures])


def learned(network: PackshotNet, settings: Settings, rate: float = 0.005) -> PackshotNet:
    other = copied(network)
    adapt(other, lessons(photographs(), settings.training.chosen, settings.adapt), settings.adapt, rate)
    return other


def ranking(network: PackshotNet, bundle, settings: Settings) -> dict[str, float]:
    judge = judge_of(network, read_record(bundle), threads=1)
    recipe = settings.training.chosen
    own = [(name, ladder_of(image, name, recipe, settings.adapt, 17)) for name, image in photographs()]
    rows = judged_ladders(judge, own)
    return compare(rows, rows, None, settings).after


def test_it_ranks_its_own_degraded_copies_better(network, bundle):
    settings = adapting(steps=30)
    before, after = (ranking(each, bundle, settings) for each in (network, learned(network, settings)))
    assert after[RANKING] > before[RANKING] + 0.05
    # The attributes are reported beside it; which way they go in a judge of random landmarks depends on the processor.
    attributes = {name for name in before if name.startswith("own/srcc/")}
    assert attributes and attributes <= set(after)


def test_the_anchor_holds_undamaged_pictures_where_they_were(network):
    before = answers(network, photographs())
    moved = {}
    for anchor in (10.0, 0.0):
        adapted = learned(network, adapting(anchor=anchor, steps=40), 0.001)
        moved[anchor] = float((answers(adapted, photographs()) - before).abs().mean())
    assert moved[10.0] < 0.5 * moved[0.0]


def test_frozen_stages_and_human_taught_heads_stay_bit_equal(network):
    before, after = network.state_dict(), learned(network, adapting()).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[2] for name in changed if name.startswith("backbone.")} == {"5", "6"}
    assert {name for name in changed if not name.startswith("backbone.")} == {"attributes.weights"}


def test_the_command_writes_a_loadable_bundle_that_says_from_what(bundle, folder, tmp_path, capsys):
    found = run(adapting(), folder, tmp_path / "out", str(bundle))
    assert found.kept and "broken.jpg is left out" in capsys.readouterr().err
    lineage = read_record(tmp_path / "out").adaptation
    assert lineage is not None and lineage.source == "source" and not lineage.calibration_refitted
    assert lineage.pictures + found.record["held_out"] == PICTURES
    seen = Judge.load(tmp_path / "out", "cpu", 1).judge([picture(0, 0, 0.0)])
    assert 0 < seen[0].quality < 1
    assert (
        json.loads((tmp_path / "out" / "adaptation.json").read_text())["before"].keys() == found.record["after"].keys()
    )
    assert "adaptation" not in json.loads((bundle / "bundle.json").read_text())


def test_the_same_seed_gives_the_same_bundle(bundle, folder, tmp_path):
    names = ("first", "second", "other")
    for name, seed in zip(names, (17, 17, 18), strict=True):
        run(adapting(steps=2, seed=seed), folder, tmp_path / name, str(bundle))
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in names]
    assert files[0] == files[1]
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in ("first", "other")]
    assert not torch.equal(*(each["attributes.weights"] for each in weights))


def test_a_fall_beyond_the_margin_leaves_no_bundle_unless_asked(bundle, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("packshot.evaluation.adaptation._fallen", lambda *_: ("it fell",))
    settings = adapting(steps=1)
    refused = run(settings, folder, tmp_path / "out", str(bundle))
    assert not refused.kept and {p.name for p in (tmp_path / "out").iterdir()} == {"adaptation.json", "adaptation.png"}
    assert run(settings, folder, tmp_path / "out", str(bundle), keep_anyway=True).kept
    assert (tmp_path / "out" / "weights.safetensors").is_file()


def test_labelled_ranks_that_fall_are_named():
    rows = [
        {"image_id": "a", "group": "a", "copy": copy, "near": 1 - copy / 4, "attribute": None, "quality": -copy}
        | dict.fromkeys(("sharpness", "colour_balance", "detail"), 0.5)
        for copy in range(4)
    ]
    frame = pd.DataFrame(rows)
    before = {"quality/srcc/own": 0.80, "quality/srcc/own/part": 0.80, "style/accuracy/own": 0.7}
    after = {"quality/srcc/own": 0.78, "quality/srcc/own/part": 0.10, "style/accuracy/own": 0.695}
    assert compare(frame, frame, (before, after), adapting(margin=0.01)).fallen == (
        "quality/srcc/own fell from 0.8000 to 0.7800",
    )


def test_wrong_folders_are_clear_errors(bundle, folder, tmp_path):
    settings = adapting()
    with pytest.raises(BatchFolderMissing, match="does not exist"):
        run(settings, tmp_path / "nowhere", tmp_path / "out", str(bundle))
    for path in sorted(folder.glob("*.png"))[3:]:
        path.unlink()
    with pytest.raises(TooFewPictures, match=r"3 usable pictures \(1 of 4 files"):
        run(settings, folder, tmp_path / "out", str(bundle))
    with pytest.raises(OutputTaken, match="new or empty"):
        run(settings, folder, bundle, str(bundle))
    assert not (tmp_path / "out").exists()
