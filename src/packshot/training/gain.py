"""What a repair gains, learned where the truth is known: on damaged copies of pictures that the enhancer did not learn
from, since it flatters itself on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from packshot.catalog.manifest import rows_of_sets
from packshot.degrade import apply_mix, draw_mix, draw_singles
from packshot.faults.detector import Detector
from packshot.inference.fastest import fastest_runtime
from packshot.inference.gain import HARMED_DB, Before, Forest, evidence
from packshot.inference.heads import Heads
from packshot.inference.repairs import Enhancing, kept_ground
from packshot.inference.torch_runtime import source_of
from packshot.model.network import PackshotNet
from packshot.model.parallel import each_on_one_core, one_core, worker_count
from packshot.model.preprocess import Image
from packshot.progress import say, track
from packshot.training.pairs import pair_rows
from packshot.training.planting import plant

if TYPE_CHECKING:
    import pandas as pd

    from packshot.config import Profile, Recipe

FEWEST_GROUPS = 20
"""With pictures of fewer groups nothing is learned: what the gain is worth on others could not be told."""
TREES = 80
LEAF = 4
"""Fewest pairs in a leaf."""
SHARE = 0.8
"""Of the evidence that a split chooses from."""
FOLDS = 5
QUOTED_HARM = 0.1
RESCUED_DB = 1.0
CLIP_DB = (-6.0, 8.0)
"""Gains beyond are learned as these: how large a great gain is matters little."""
ROUNDING = 0.65
"""Least squared error, of 255 squared: two pictures that differ by rounding are the same."""
Gains = npt.NDArray[np.float64]
Opener = Callable[[str], Image]


@dataclass(frozen=True)
class Trials:
    """What repairing came to: P pairs of a damaged copy and one way, with `evidence` (P x its size), the true `gain` in
    dB, the `copy` that it is of (a number), and the `group` of the picture."""

    evidence: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float64]
    copy: npt.NDArray[np.int64]
    group: npt.NDArray[np.str_]


def learn_gain(
    network: PackshotNet, detector: Detector, rows: pd.DataFrame, opener: Opener, side: int, threads: int, seed: int
) -> Forest | str:
    """Learn from the pictures of `rows` (columns image_id, path, group), whose crops of at most `side` pixels are
    damaged and repaired. Returns, where there are too few, what is missing."""
    groups = rows["group"].nunique() if len(rows) else 0
    if groups < FEWEST_GROUPS:
        return f"{groups} groups of pristine pictures are left that the enhancer did not learn from, of {FEWEST_GROUPS}"
    trials = tried(network, detector, rows, opener, side, threads, seed)
    with one_core():
        forest = fitted(trials, seed)
    kept = forest.expected > forest.least(QUOTED_HARM)
    rescued = float((forest.true[kept] >= RESCUED_DB).sum()) / len(kept)
    say(
        f"train: gains learned from {len(kept)} damaged copies; of those of other pictures {rescued:.0%} rescued, "
        f"{float((forest.true[kept] < -HARMED_DB).mean()) if kept.any() else 0.0:.0%} of the delivered harmed"
    )
    return forest


def gain_rows(manifest: pd.DataFrame, profile: Profile, recipe: Recipe, seed: int) -> pd.DataFrame:
    """At most `recipe.gain_pictures` pristine pictures of train and validation, of groups that the enhancer does not
    learn from; sets take turns, and each picture draws its own lot."""
    pairs = pair_rows(manifest, profile, recipe, seed)
    learned = set(pairs.loc[pairs["split"] == "train", "group"])
    large = manifest[["width", "height"]].min(axis=1) >= recipe.patch
    rows = manifest[rows_of_sets(manifest, profile.pristine) & large & ~manifest["group"].isin(learned)]
    rows = rows[rows["split"].isin(["train", "validation"])].drop_duplicates("image_id")
    rows = rows.assign(lot=[_lot(f"{each}/gain", seed) for each in rows["image_id"]]).sort_values("lot")
    turn = rows.groupby("source").cumcount()
    return rows.assign(turn=turn).sort_values(["turn", "source"], kind="stable").head(recipe.gain_pictures)


def tried(
    network: PackshotNet, detector: Detector, rows: pd.DataFrame, opener: Opener, side: int, threads: int, seed: int
) -> Trials:
    """Damage each picture in three ways and repair each copy in every way; the same for the same arguments."""
    source = source_of(network)
    enhancing = Enhancing(Heads(source), fastest_runtime(network.device.type)(source, threads))

    def work(row: dict[Hashable, Any]) -> list[list[tuple[npt.NDArray[np.float32], float]]]:
        clean = crop_of(opener(str(row["path"])), str(row["image_id"]), side, seed)
        return [_repaired(enhancing, detector, clean, copy) for copy in copies_of(clean, str(row["image_id"]), seed)]

    records = rows.to_dict("records")
    done = each_on_one_core(work, records, worker_count(threads))
    found: list[tuple[npt.NDArray[np.float32], float, int, str]] = []
    number = 0
    for row, copies in zip(records, track(done, "repairing", total=len(records)), strict=True):
        for pairs in copies:
            found += [(seen, gain, number, str(row["group"])) for seen, gain in pairs]
            number += 1
    seen, gain, copy, group = zip(*found, strict=True)
    return Trials(np.stack(seen), np.array(gain), np.array(copy, dtype=np.int64), np.array(group, dtype=np.str_))


def crop_of(image: Image, image_id: str, side: int, seed: int) -> Image:
    """A part of at most `side` pixels each way, in a place drawn by the picture."""
    generator = np.random.default_rng(_lot(f"{image_id}/gain", seed))
    top, left = (int(generator.integers(0, max(length - side, 0) + 1)) for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def copies_of(clean: Image, image_id: str, seed: int) -> Iterator[Image]:
    """Three: with faults at any strength; after degradations of the catalogue; and as the first or undamaged. Those
    whose pixels moved, or are other in number, are left out: they cannot be compared."""
    lots = [_lot(f"{image_id}/gain/{copy}", seed) for copy in range(3)]
    steps = draw_mix(lots[1] & 0xFFFFFFFF) if lots[1] % 2 else draw_singles(1, lots[1] & 0xFFFFFFFF)[0]
    aligned = all(step.family != "geometry" for step in steps)
    third = plant(clean, lots[2]).image if lots[2] % 3 else clean
    copies = [plant(clean, lots[0]).image, apply_mix(clean, steps, lots[1] >> 32) if aligned else None, third]
    return (copy for copy in copies if copy is not None and copy.shape == clean.shape)


def _repaired(
    enhancing: Enhancing, detector: Detector, clean: Image, copy: Image
) -> list[tuple[npt.NDArray[np.float32], float]]:
    before, error = Before.of(copy, detector), _error(clean, copy)
    found = []
    for repair in enhancing.repairs(copy):
        after = kept_ground(copy, repair.apply(copy, 1.0))
        seen = evidence(before, after, repair.name, detector)
        found.append((seen, 10 * float(np.log10(error / _error(clean, after)))))
    return found


def _error(clean: Image, image: Image) -> float:
    return max(float(np.mean((clean.astype(np.float32) - image) ** 2)), ROUNDING)


def fitted(trials: Trials, seed: int) -> Forest:
    """The forest of all trials, with what forests that left a group out expect of its copies, and what came of it."""
    parts = [_left_out(trials, held, seed) for held in _folds(trials.group, seed)]
    expected, true = (np.concatenate(each).astype(np.float32) for each in zip(*parts, strict=True))
    return _grown(trials, np.ones(len(trials.gain), dtype=bool), seed, expected, true)


def _left_out(trials: Trials, held: npt.NDArray[np.bool_], seed: int) -> tuple[Gains, Gains]:
    """Of each copy held out, the way that looks best: what is expected of it, and what it gains. Who chooses the best
    of many guesses chooses one that is too high; so it is the chosen ones that are counted."""
    none = np.zeros(0, dtype=np.float32)
    expected = _grown(trials, ~held, seed, none, none).predict(trials.evidence[held])
    best = [members[int(expected[members].argmax())] for members in _members(trials.copy[held])]
    return expected[best].astype(np.float64), trials.gain[held][best]


def _members(copy: npt.NDArray[np.int64]) -> Sequence[npt.NDArray[np.intp]]:
    return [np.flatnonzero(copy == number) for number in np.unique(copy)]


def _folds(group: npt.NDArray[np.str_], seed: int) -> Iterator[npt.NDArray[np.bool_]]:
    names = np.unique(group)
    fold = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    for number in range(FOLDS):
        yield np.isin(group, names[fold == number])


def _grown(
    trials: Trials,
    rows: npt.NDArray[np.bool_],
    seed: int,
    expected: npt.NDArray[np.float32],
    true: npt.NDArray[np.float32],
) -> Forest:
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=SHARE, random_state=seed)
    forest.fit(trials.evidence[rows], np.clip(trials.gain[rows], *CLIP_DB))
    trees = [each.tree_ for each in forest.estimators_]
    nodes = max(tree.node_count for tree in trees)

    def table(name: str, dtype: Any) -> Any:
        values = np.zeros((len(trees), nodes), dtype=dtype)
        for place, tree in enumerate(trees):
            values[place, : tree.node_count] = getattr(tree, name).reshape(tree.node_count)
        return values

    return Forest(
        feature=np.maximum(table("feature", np.int16), -1),
        threshold=table("threshold", np.float32),
        left=table("children_left", np.int16),
        right=table("children_right", np.int16),
        value=table("value", np.float32),
        expected=expected,
        true=true,
    )


def _lot(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1
