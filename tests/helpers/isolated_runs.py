"""Scores, enhances or validates a folder in a process of its own: `python isolated_runs.py WHAT IN OUT`."""

from __future__ import annotations

import json
import os
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
    """What is made for people, and for training, of pictures of which one kills its decoder; renditions and features
    are asked for again, as after a kill."""
    from hostile_decoder import hostile, obeyed
    from sample_verdicts import verdict, write_verdicts

    from packshot.catalog.decoding.attempts import Attempts
    from packshot.catalog.image import BadImage, ImageLimits
    from packshot.exports.pictures import digest_of
    from packshot.exports.renditions import write_renditions
    from packshot.exports.source import open_verdicts
    from packshot.serving.thumbnails import Thumbnails
    from packshot.training.features import ATTEMPTS, _opener

    chosen, environment = settings(), dict(os.environ)
    files = sorted(folder.rglob("*.png"))
    hostile(files[0], "dies")
    names = {path: path.relative_to(folder).as_posix() for path in files}
    rows = [verdict(name, image_id=digest_of(path)) for path, name in names.items()]
    verdicts = open_verdicts([write_verdicts(out / "verdicts", rows, images=folder)])
    exported = [write_renditions(chosen, verdicts, out / "renditions") for _ in range(2)]
    tried = [obeyed(environment)["dies"]]
    thumbnails = Thumbnails(ImageLimits.from_settings(chosen.validation), 10**6)
    pages = [thumbnails.of(folder, name) is not None for name in names.values()]
    tried.append(obeyed(environment)["dies"])
    hostile(out / "workspace/data/raw/images/dies.png", "dies")
    features = []
    for _ in range(2):
        try:
            _opener(chosen, out / "workspace", Attempts(out / "workspace" / ATTEMPTS))("dies.png")
        except BadImage as bad:
            features.append(bad.reason)
    tried.append(obeyed(environment)["dies"])
    return {
        "left_out": [report["pictures_left_out"] for report in exported],
        "made": [report["made"] for report in exported],
        "thumbnails": pages,
        "features": features,
        "tried": tried,
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
