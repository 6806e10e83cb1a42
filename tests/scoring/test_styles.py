"""A user's own styles by example: each image gets the nearest, and what cannot be done is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sample_batch import BrightnessJudge, save, scorer

from packshot.config import Settings, load_settings
from packshot.exports.source import open_verdicts
from packshot.exports.styles import count_styles
from packshot.registry.lineage import Lineage
from packshot.scoring.batch import score
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import OtherModel
from packshot.scoring.styles import NoExamples, assign_styles, chosen_styles, styles_by_example

COLOURS = {"barn": (200, 40, 40), "sea": (40, 60, 200), "moss": (50, 160, 60)}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(Path(__file__).resolve().parents[2] / "params.yaml")


class ColourJudge(BrightnessJudge):
    """Describes an image by its mean colour, and by that and its spread for what kind of thing it is."""

    def _one(self, image: np.ndarray) -> object:
        judged = super()._one(image)
        colour, spread = image.reshape(-1, 3).mean(0) / 255, image.reshape(-1, 3).std(0) / 255
        judged.__dict__["embedding"] = np.concatenate([colour, 4 * spread, [0.1, 0.1]]).astype(np.float32)
        judged.__dict__["style_vector"] = np.append(image.reshape(-1, 3).mean(0) / 255, 0.5).astype(np.float32)
        return judged


def painted(folder: Path, per_style: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    for style, colour in COLOURS.items():
        for i in range(per_style):
            image = np.clip(random.normal(np.array(colour) + random.normal(0, 12, 3), 10, (40, 48, 3)), 0, 255)
            save(folder / style / f"{i}.png", image.astype(np.uint8))
    return folder


def reference(rows: int = 100) -> pd.DataFrame:
    random = np.random.default_rng(9)
    vectors, embeddings = random.uniform(0, 1, (rows, 4)), random.uniform(0, 1, (rows, 8))
    return pd.DataFrame({"style_vector": list(vectors), "embedding": list(embeddings)})


@pytest.mark.parametrize("known", [0, 10, 100])
def test_each_image_gets_the_style_whose_examples_it_is_like(settings: Settings, tmp_path: Path, known: int) -> None:
    batch, examples = painted(tmp_path / "new", 4, 1), painted(tmp_path / "shown", 5, 2)
    (batch / "barn" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    judge = scorer(ColourJudge())
    score(settings, batch, tmp_path / "out", scorer=judge)
    found = assign_styles(settings, examples, tmp_path / "out", judge, reference(known))
    table = pd.read_parquet(tmp_path / "out" / "styles.parquet")
    assert (table["style"] == table["path"].str.split("/").str[0]).all()
    assert (table["margin"] > 0).all() and table["similarity"].between(-1, 1 + 1e-9).all()
    assert found.images == dict.fromkeys(COLOURS, 4) and found.examples == dict.fromkeys(sorted(COLOURS), 5)
    assert found.left_out == 1


def striped(folder: Path, count: int) -> Path:
    """Things of another kind: half black, half white."""
    for i in range(count):
        image = np.zeros((40, 48, 3), dtype=np.uint8)
        image[:, 20 + i :] = 255
        save(folder / f"{i}.png", image)
    return folder


def test_a_picture_of_another_kind_than_the_examples_gets_no_style(settings: Settings, tmp_path: Path) -> None:
    batch, judge = painted(tmp_path / "new", 4, 1), scorer(ColourJudge())
    striped(batch / "other", 3)
    score(settings, batch, tmp_path / "out", scorer=judge)
    found = assign_styles(settings, painted(tmp_path / "shown", 5, 2), tmp_path / "out", judge, reference(0))
    table = pd.read_parquet(tmp_path / "out" / "styles.parquet").set_index("path")
    other = table[table.index.str.startswith("other/")]
    assert other["style"].isna().all() and other["style_reason"].str.startswith("style_not_taught: ").all()
    assert (other["scope"] < 0).all() and not other["chosen"].any()
    assert found.not_taught == 3 + int(table.drop(other.index)["style"].isna().sum()) <= 5
    assert sum(found.images.values()) == len(table) - found.not_taught


def test_sets_stand_side_by_side_and_the_one_that_holds_a_picture_best_is_chosen(
    settings: Settings, tmp_path: Path
) -> None:
    batch, judge = painted(tmp_path / "new", 4, 1), scorer(ColourJudge())
    striped(batch / "other", 4)
    score(settings, batch, tmp_path / "out", scorer=judge)
    drawn = tmp_path / "drawn"
    for name in ("thin", "thick"):
        striped(drawn / name, 5)
    for name, shown in (("colours", painted(tmp_path / "shown", 6, 2)), ("stripes", drawn)):
        assign_styles(settings, shown, tmp_path / "out", judge, reference(0), name)
    again = assign_styles(settings, drawn, tmp_path / "out", judge, reference(0), "stripes")
    table = pd.read_parquet(tmp_path / "out" / "styles.parquet")
    assert again.style_set == "stripes" and len(table) == 2 * 16
    assert (table.groupby("path")["chosen"].sum() <= 1).all()
    chosen = chosen_styles(tmp_path / "out")
    assert {held for path, (held, _) in chosen.items() if path.startswith("other/")} == {"stripes"}
    assert {held for path, (held, _) in chosen.items() if not path.startswith("other/")} == {"colours"}
    assert all(held == "colours" for held, _ in chosen_styles(tmp_path / "out", "colours").values())
    with pytest.raises(NoExamples, match="no set linen; sets are colours, stripes"):
        chosen_styles(tmp_path / "out", "linen")


def test_a_few_examples_speak_for_all_pictures(settings: Settings, tmp_path: Path) -> None:
    batch, judge = painted(tmp_path / "new", 2, 1), scorer(ColourJudge())
    striped(batch / "other", 2)
    score(settings, batch, tmp_path / "out", scorer=judge)
    found = assign_styles(settings, painted(tmp_path / "shown", 1, 2), tmp_path / "out", judge, reference(0))
    table = pd.read_parquet(tmp_path / "out" / "styles.parquet")
    assert found.not_taught == 0 and table["scope"].isna().all() and table["chosen"].all()


def test_a_batch_without_own_styles_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoExamples, match="`packshot styles` first"):
        chosen_styles(tmp_path)


def test_an_example_that_cannot_be_read_is_left_out_and_a_style_without_any_ends_it(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, examples = painted(tmp_path / "new", 2, 1), painted(tmp_path / "shown", 2, 2)
    judge = scorer(ColourJudge())
    score(settings, batch, tmp_path / "out", scorer=judge)
    (examples / "sea" / "0.png").write_bytes(b"")
    found = assign_styles(settings, examples, tmp_path / "out", judge, reference())
    assert found.examples["sea"] == 1 and "sea/0.png is left out" in capsys.readouterr().err
    (examples / "sea" / "1.png").write_bytes(b"")
    with pytest.raises(NoExamples, match="no picture of sea"):
        assign_styles(settings, examples, tmp_path / "out", judge, reference())


def test_one_style_is_no_choice(settings: Settings, tmp_path: Path) -> None:
    judge = scorer(ColourJudge())
    score(settings, painted(tmp_path / "new", 2, 1), tmp_path / "out", scorer=judge)
    save(tmp_path / "shown" / "sea" / "a.png", np.zeros((40, 40, 3), dtype=np.uint8))
    save(tmp_path / "shown" / "loose.png", np.zeros((40, 40, 3), dtype=np.uint8))
    with pytest.raises(NoExamples, match=r"two styles or more.*found sea"):
        assign_styles(settings, tmp_path / "shown", tmp_path / "out", judge, reference())


def test_descriptions_of_two_models_are_not_compared(settings: Settings, tmp_path: Path) -> None:
    batch = painted(tmp_path / "new", 2, 1)
    score(settings, batch, tmp_path / "out", scorer=scorer(ColourJudge()))
    with pytest.raises(OtherModel):
        assign_styles(settings, batch, tmp_path / "out", scorer(ColourJudge(), digest="e" * 64), reference())


def test_verdicts_of_the_starter_need_no_model_named(settings: Settings, tmp_path: Path) -> None:
    score(settings, painted(tmp_path / "new", 1, 1), tmp_path / "out", scorer=open_scorer(settings, "starter"))
    found = styles_by_example(settings, painted(tmp_path / "shown", 2, 2), tmp_path / "out")
    assert found.style_set == "own" and sum(found.images.values()) + found.not_taught == 3
    other = replace(scorer(ColourJudge()), lineage=Lineage("packshot"))
    score(settings, tmp_path / "new", tmp_path / "other", scorer=other)
    with pytest.raises(NoExamples, match="name it with --model"):
        styles_by_example(settings, tmp_path / "shown", tmp_path / "other")


def test_an_export_counts_own_styles_by_set(settings: Settings, tmp_path: Path) -> None:
    batch, judge = painted(tmp_path / "new", 4, 1), scorer(ColourJudge())
    score(settings, batch, tmp_path / "out", scorer=judge)
    for name in ("colours", "more"):
        assign_styles(settings, painted(tmp_path / name, 1, 2), tmp_path / "out", judge, reference(0), name)
    (file,) = open_verdicts([tmp_path / "out"])
    one = {file.batch_id: chosen_styles(tmp_path / "out", "more")}
    (cell,) = count_styles(settings.exports, [file], own=one).values()
    assert {name: tally.images for name, tally in cell.items()} == {"barn": 4, "moss": 4, "sea": 4}
    two = {file.batch_id: {"barn/0.png": ("more", "barn"), "sea/1.png": ("colours", "sea")}}
    (cell,) = count_styles(settings.exports, [file], own=two).values()
    assert {name: tally.images for name, tally in cell.items()} == {"more/barn": 1, "colours/sea": 1, "unknown": 10}
