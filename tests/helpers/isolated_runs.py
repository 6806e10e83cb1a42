"""Scores, enhances or validates a folder in a process of its own: `python isolated_runs.py WHAT IN OUT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sample_batch import scorer

from packshot.config import Settings, load_settings
from packshot.home import project_root

DEADLINE_S = 6.0


def settings() -> Settings:
    """Those of the project with a short deadline, small shards, and bounds on memory that a test can reach."""
    loaded = load_settings(project_root() / "params.yaml")
    validation = {"decode_deadline_s": DEADLINE_S, "max_megapixels": 8.0, "max_bad_share": 0.9}
    scoring = {"shard_size": 4, "accept_at": 0.6, "reject_below": 0.2, "review_width": 1.0, "min_gain": 0.01}
    return loaded.model_copy(
        update={
            "validation": loaded.validation.model_copy(update=validation),
            "scoring": loaded.scoring.model_copy(update=scoring),
        }
    )


def score(folder: Path, out: Path) -> object:
    from packshot.scoring.batch import score as score_all

    return score_all(settings(), folder, out, scorer=scorer()).as_record()


def parts(folder: Path, out: Path) -> object:
    from packshot.scoring.batch import merge_batch, plan_batch, score_part

    plan = plan_batch(settings(), folder, out, scorer())
    for number in range(plan.shards):
        score_part(settings(), out, scorer(), range(number, number + 1))
    return merge_batch(settings(), out, scorer()).as_record()


def enhance(folder: Path, out: Path) -> object:
    from packshot.scoring.enhance import enhance_folder

    return enhance_folder(settings(), folder, out, scorer=scorer()).as_record()


def validate(folder: Path, out: Path) -> object:
    from packshot.catalog.validate import validate as validate_all

    del out
    return validate_all(settings(), folder).as_record()


def probe(folder: Path, out: Path) -> object:
    """What `validate` decodes, without its expectations."""
    from packshot.catalog.decoding.attempts import Attempts
    from packshot.catalog.image import ImageLimits
    from packshot.catalog.probing import probe_files

    limits = ImageLimits.from_settings(settings().validation)
    paths = sorted(path.name for path in folder.iterdir())
    found = probe_files(paths, folder, limits, 8, Attempts(out / "decoding.attempts"))
    return dict(zip(paths, found["unreadable"].fillna(""), strict=True))


def model(folder: Path, out: Path) -> object:
    """The errors that the logged model says of each file."""
    import pandas as pd
    from sample_batch import BrightnessJudge

    from packshot.catalog.image import ImageLimits
    from packshot.registry.pyfunc_model import PackshotModel

    del out
    logged = PackshotModel()
    logged._limits, logged._judge = ImageLimits.from_settings(settings().validation), BrightnessJudge()
    paths = sorted(folder.iterdir())
    answer = logged.predict(None, pd.DataFrame({"image": [path.read_bytes() for path in paths]}))
    return {path.name: (said or "").split(":")[0] for path, said in zip(paths, answer["error"], strict=True)}


def shown(folder: Path, out: Path) -> object:
    """What is made for people, and for training, of pictures that have gone bad since they were judged."""
    from hostile_decoder import hostile

    from packshot.catalog.image import BadImage, ImageLimits
    from packshot.exports.renditions import write_renditions
    from packshot.exports.source import open_verdicts
    from packshot.scoring.batch import score as score_all
    from packshot.serving.thumbnails import Thumbnails
    from packshot.training.features import _opener

    chosen = settings()
    report = score_all(chosen, folder, out, scorer=scorer())
    accepted = sorted(folder.rglob("*.png"))[-2:]
    hostile(accepted[0], "dies")
    exported = write_renditions(chosen, open_verdicts([out]), out / "renditions", folder)
    thumbnails = Thumbnails(ImageLimits.from_settings(chosen.validation), 10**6)
    pages = [thumbnails.of(folder, path.relative_to(folder).as_posix()) is not None for path in accepted]
    images = out / "workspace/data/raw/images"
    images.mkdir(parents=True)
    hostile(images / "dies.png", "dies")
    try:
        _opener(chosen, out / "workspace")("dies.png")
        features = "read"
    except BadImage as bad:
        features = bad.reason
    return {
        "rows": report.rows,
        "left_out": exported["pictures_left_out"],
        "made": exported["made"] > 0,
        "thumbnails": pages,
        "features": features,
    }


if __name__ == "__main__":
    runs = {
        "score": score,
        "parts": parts,
        "enhance": enhance,
        "validate": validate,
        "probe": probe,
        "model": model,
        "shown": shown,
    }
    print(json.dumps(runs[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))))
