"""A user's own styles by example: each image gets the nearest, and what cannot be done is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sample_batch import BrightnessJudge, save, scorer

from packshot.config import Settings, load_settings
from packshot.scoring.batch import score
from packshot.scoring.shards import OtherModel
from packshot.scoring.styles import NoExamples, assign_styles

COLOURS = {"barn": (200, 40, 40), "sea": (40, 60, 200), "moss": (50, 160, 60)}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(Path(__file__).resolve().parents[2] / "params.yaml")


class ColourJudge(BrightnessJudge):
    """Describes an image by its mean colour."""

    def _one(self, image: np.ndarray) -> object:
        judged = super()._one(image)
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
