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


if __name__ == "__main__":
    runs = {"score": score, "parts": parts, "enhance": enhance, "validate": validate}
    print(json.dumps(runs[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))))
