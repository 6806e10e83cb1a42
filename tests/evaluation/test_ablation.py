"""Leaving a part out changes that part alone, and the difference is one of the same rows and folds."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from small_workspace import make_settings, make_workspace
from typer.testing import CliRunner

from packshot.cli import app
from packshot.evaluation.ablation import WHOLE, Inputs, UnknownVariant, ablate, variants
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.training.dataset import load_dataset, load_pairs
from packshot.training.features import build_features

VIEWS = 2


@pytest.fixture(scope="module")
def settings():
    made = make_settings()
    return made.model_copy(update={"model": made.model.model_copy(update={"long_sides": (64, 32)})})


@pytest.fixture(scope="module")
def workspace(settings, tmp_path_factory):
    root = tmp_path_factory.mktemp("ablation")
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root / "home"))
        torch.set_num_threads(1)
        made = make_workspace(root / "workspace")
        build_features(settings, made)
        yield made
    torch.set_num_threads(before)


def test_each_variant_changes_what_its_name_says(settings, workspace):
    whole = Inputs(settings, load_dataset(workspace, settings.profiles["own"]), load_pairs(workspace))
    made = {name: change(whole) for name, change in variants(settings).items()}
    deep, signal = slice(None, -SIGNAL_SIZE), slice(-SIGNAL_SIZE, None)
    for name in made.keys() - {"no signal statistics"}:
        assert torch.equal(made[name].data.stats[:, signal], whole.data.stats[:, signal])
    without, alone = (made[name].data.stats for name in ("no signal statistics", "signal statistics alone"))
    assert not without[:, signal].any() and torch.equal(without[:, deep], whole.data.stats[:, deep])
    assert not alone[:, deep].any()
    size = whole.data.stats[:, deep].shape[1]
    one_view = made["largest view only"].data.stats[:, deep]
    assert torch.equal(one_view[:, : size // VIEWS], whole.data.stats[:, : size // VIEWS])
    assert not one_view[:, size // VIEWS :].any()
    last = made["last stage only"].data.stats[:, deep].reshape(-1, VIEWS, size // VIEWS)
    kept = (last != 0).any(dim=0)
    assert torch.equal(kept[0], kept[1])
    # Lite0: 320 channels in the last stage, mean and deviation of each
    assert kept[0, :-640].sum() == 0 and kept[0, -640:].float().mean() > 0.9
    early = (made["no first three stages"].data.stats[:, deep].reshape(-1, VIEWS, size // VIEWS) != 0).any(dim=0)
    # 16, 24 and 40 channels
    assert early[:, :160].sum() == 0 and early[:, 160:].float().mean() > 0.9
    assert not made["no Gram vectors"].data.gram.any() and made["no degraded copies"].pairs is None
    loss = made["style alone"].settings.training.loss
    assert (loss.quality, loss.attributes, loss.ranking, loss.style) == (0, 0, 0, settings.training.loss.style)
    assert made["trunk at rest"].settings.training.chosen.trunk_lr_factor == 0
    for name in ("last stage only", "largest view only"):
        changed = made[name].pairs.stats
        assert torch.equal(
            (changed != 0).any(dim=0), (made[name].data.stats != 0).any(dim=0) & (whole.pairs.stats != 0).any(dim=0)
        )


def test_the_table_compares_on_the_same_rows(settings, workspace):
    table = ablate(settings, workspace, only=["no Gram vectors"])
    assert set(table["variant"]) == {WHOLE, "no Gram vectors"}
    assert set(table["figure"]) >= {"SRCC", "style accuracy"}
    mine = table[table["variant"] != WHOLE].set_index("figure")
    for figure in ("SRCC", "style accuracy"):
        assert mine.loc[figure, "low"] <= mine.loc[figure, "difference"] <= mine.loc[figure, "high"]
    assert table.loc[table["variant"] == WHOLE, "difference"].isna().all()
    assert np.isfinite(table["value"]).all()
    pd.testing.assert_frame_equal(pd.read_parquet(workspace / "reports/ablation.parquet"), table)
    assert (workspace / "reports/ablation.png").read_bytes().startswith(b"\x89PNG")


def test_the_result_line_is_json_without_nan(monkeypatch):
    table = pd.DataFrame({"variant": [WHOLE], "set": ["own"], "figure": ["SRCC"], "value": [0.5], "low": [np.nan]})
    monkeypatch.setattr("packshot.evaluation.ablation.ablate", lambda *given: table)
    done = CliRunner().invoke(app, ["ablate"])

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    (row,) = json.loads(done.stdout.splitlines()[-1], parse_constant=refuse)["rows"]
    assert row["value"] == 0.5 and row["low"] is None


def test_a_variant_that_there_is_not_is_named(settings, workspace):
    with pytest.raises(UnknownVariant, match=r"'gram'.*no Gram vectors"):
        ablate(settings, workspace, only=["gram"])
