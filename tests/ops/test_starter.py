"""The model that comes with the package: made of some sets of a whole catalogue, of which it says what it never saw."""

import pandas as pd
import pytest
from small_workspace import make_settings
from tiny_mirror import make_mirror

from packshot.bundle import Judge, read_record
from packshot.catalog.held_out import groups_digest, read_held_out
from packshot.config import Settings
from packshot.ops.starter import run


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    raw = make_settings().model_dump(mode="json")
    tiny = raw["training"]["recipes"]["tiny"] | {"epochs": 1}
    raw["source"] |= {"use": "mirror", "mirror": str(make_mirror(tmp_path / "mirror", 90))}
    raw["training"]["recipes"] |= {
        "quick": tiny | {"model": {"long_sides": [40]}},
        "student": tiny | {"teacher": "quick", "human_share": 0.5, "model": {"long_sides": [32]}},
    }
    raw["evaluation"] |= {"bootstrap": 20, "pairs": 4, "crop": 64, "singles": 1}
    return Settings.model_validate(raw)


def test_the_starter_knows_its_sets_alone_and_none_of_the_test_groups(settings, tmp_path):
    told = run(settings, tmp_path / "made")
    bundle = tmp_path / "made/model/models/packshot"
    record = read_record(bundle)
    assert told["bundle"] == str(bundle) and record.profile == "starter" and record.recipe == "student"
    assert record.architecture.styles == ()
    whole = pd.read_parquet(tmp_path / "made/catalogue/data/splits/manifest.parquet")
    test = whole[(whole["split"] == "test")]
    assert (test["source"] == "furniture").any()
    found = read_held_out(bundle)
    assert found is not None and set(found) == {"biq2021", "clothing", "grocery"}
    card = (tmp_path / "made/CARD.md").read_text()
    for name in found:
        digest = groups_digest(test.loc[test["source"] == name, "group"])
        assert found[name].sha256 == digest and digest in card
    seen = set(pd.read_parquet(bundle / "reference.parquet")["image_id"])
    assert seen and not seen & set(test["image_id"]) and "furniture" not in card
    assert f"| {told['quality/srcc_folds/biq2021']:.3f} |" in card
    assert "from people (50%) and its teacher, `quick`" in card
    assert "CC0-1.0" in card and "free for use and benchmarking" in card
    assert Judge.load(bundle, threads=1).bundle.profile == "starter"
