"""How often drift is called where there is none, and found where there is.

    python benchmarks/drift_false_alarms.py --bundle models/packshot --images IMAGES/clothing --labels labels.csv \
        --foreign OTHER/images [--windows 200]

A catalogue whose senders are known (`labels`: a CSV with a file and a sender column) is scored once by the
bundle, a second collection is scored as the foreign one. Then, for every window, the senders are split anew:
some whole senders form the batch (about 120 images), the others the reference, so neither knows the other.
Printed: the share of windows that one window's level would call drift, the share that alarms by itself
(strict level), and the share that alarms by the rule over successive windows; for windows without drift,
half foreign, and wholly foreign; with senders known and with senders withheld. Beside it, what tests that take
pictures of one sender for independent would say of the same windows: the energy distance by permuting pictures, and
Kolmogorov-Smirnov on each statistic and score with Bonferroni's correction.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy import stats

from packshot.bundle import Judge
from packshot.catalog.image import BadImage, ImageLimits, decode
from packshot.catalog.statistics import image_statistics
from packshot.config import DriftSettings, Settings, load_settings
from packshot.drift.alarm import Window, judge_windows
from packshot.drift.check import compare
from packshot.drift.samples import PREDICTIONS, STATISTICS, Batch, Sample
from packshot.drift.twosample import distances, joint_test, permuted_groups
from packshot.files import write_parquet
from packshot.progress import track

LOGARITHMIC = ("sharp_laplacian", "width", "height")


@dataclass(frozen=True)
class Pool:
    """Scored images: `sample` with senders as groups."""

    sample: Sample

    def rows_of(self, groups: Sequence[int]) -> np.ndarray:
        return np.flatnonzero(np.isin(self.sample.groups, groups))


def features(judge: Judge, files: Sequence[Path], settings: Settings, cache: Path, what: str) -> pd.DataFrame:
    """What a verdict holds of each image, from `cache` where it is there."""
    if cache.exists():
        return pd.read_parquet(cache)
    limits = ImageLimits.from_settings(settings.validation)
    rows = []
    for path in track(files, what):
        try:
            pixels = decode(path, limits)
        except BadImage:
            continue
        judged = judge.judge([pixels])[0]
        row = {"path": path.name, "embedding": judged.embedding, "style_vector": judged.style_vector}
        row |= {"style": judged.style} | {name: float(getattr(judged, name)) for name in PREDICTIONS}
        rows.append(row | image_statistics(pixels))
    frame = pd.DataFrame(rows)
    write_parquet(cache, frame)
    return frame


def to_sample(frame: pd.DataFrame, senders: pd.Series) -> Sample:
    numbers = frame[[*STATISTICS, *PREDICTIONS]].to_numpy(dtype=float).copy()
    for name in LOGARITHMIC:
        column = STATISTICS.index(name)
        numbers[:, column] = np.log1p(numbers[:, column])
    vectors = {name: np.vstack(frame[name].to_list()).astype(float) for name in ("embedding", "style_vector")}
    labels = frame[["style"]].assign(category=None).reset_index(drop=True)
    return Sample(frame["path"].tolist(), pd.factorize(senders)[0].astype(np.intp), numbers, vectors, labels)


def join(first: Sample, second: Sample) -> Sample:
    return Sample(
        first.paths + second.paths,
        np.concatenate([first.groups, second.groups + first.n_groups]),
        np.vstack([first.numbers, second.numbers]),
        {name: np.vstack([first.vectors[name], second.vectors[name]]) for name in first.vectors},
        pd.concat([first.labels, second.labels], ignore_index=True),
    )


def split(pool: Pool, images: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
    """A window of whole senders with about `images` images, and the reference of all the other senders."""
    while True:
        order = rng.permutation(pool.sample.n_groups)
        sizes = np.bincount(pool.sample.groups)[order]
        needed = int(np.searchsorted(np.cumsum(sizes), images)) + 1
        chosen = order[:needed]
        rows = pool.rows_of(chosen)
        if needed >= 2 and len(rows) <= 3 * images:
            return pool.sample.take(rows), pool.sample.take(pool.rows_of(order[needed:]))


def as_batch(sample: Sample, unknown: np.ndarray, name: str) -> Batch:
    groups = sample.groups.astype(object)
    groups[unknown] = [f"image {i}" for i in np.flatnonzero(unknown)]
    sample = replace(sample, groups=pd.factorize(groups.astype(str))[0].astype(np.intp))
    return Batch(sample, len(sample), float(unknown.mean()), name, "packshot", None, None)


def naive_p(batch: Sample, reference: Sample, rules: DriftSettings, rng: np.random.Generator) -> float:
    values = np.vstack([batch.vectors["embedding"], reference.vectors["embedding"]])
    sides = permuted_groups(len(batch), len(reference), rules.permutations, rng)
    return joint_test({"embedding": distances(values)}, sides).p_value


def ks_p(batch: Sample, reference: Sample) -> float:
    """Least p of two-sided two-sample tests, one for each figure, times their number."""
    columns = range(batch.numbers.shape[1])
    least = min(stats.ks_2samp(batch.numbers[:, i], reference.numbers[:, i]).pvalue for i in columns)
    return min(1.0, float(least) * len(columns))


Make = Callable[[np.random.Generator], tuple[Sample, Sample, np.ndarray]]


def scenarios(pool: Pool, foreign: Sample) -> list[tuple[str, Make, bool]]:
    """Name, maker of (batch, reference, which senders are unknown), and whether the naive test is asked too."""

    def same(images: int, known: bool) -> Make:
        def make(rng: np.random.Generator) -> tuple[Sample, Sample, np.ndarray]:
            batch, reference = split(pool, images, rng)
            return batch, reference, np.full(len(batch), not known)

        return make

    def mixed(home: int, guests: int, known: bool) -> Make:
        def make(rng: np.random.Generator) -> tuple[Sample, Sample, np.ndarray]:
            batch, reference = split(pool, home, rng)
            batch = batch.take(np.sort(rng.choice(len(batch), min(home, len(batch)), replace=False)))
            others = foreign.take(np.sort(rng.choice(len(foreign), guests, replace=False)))
            unknown = np.concatenate([np.full(len(batch), not known), np.ones(guests, dtype=bool)])
            return join(batch, others), reference, unknown

        return make

    def alien(images: int) -> Make:
        def make(rng: np.random.Generator) -> tuple[Sample, Sample, np.ndarray]:
            _, reference = split(pool, 120, rng)
            batch = foreign.take(np.sort(rng.choice(len(foreign), images, replace=False)))
            return batch, reference, np.ones(images, dtype=bool)

        return make

    return [
        ("no drift, 120 images, senders known", same(120, True), True),
        ("no drift, 120 images, senders withheld", same(120, False), False),
        ("half of 500 foreign, senders known", mixed(250, 250, True), False),
        ("half of 500 foreign, senders withheld", mixed(250, 250, False), False),
        ("half of 100 foreign, senders known", mixed(50, 50, True), False),
        ("all of 80 foreign, no senders", alien(80), False),
    ]


def measure(name: str, make: Make, ask_naive: bool, rules: DriftSettings, windows: int) -> dict[str, object]:
    rng = np.random.default_rng(17)
    found: list[float | None] = []
    naive: list[float] = []
    plain: list[float] = []
    history: list[Window] = []
    begun = time.monotonic()
    for index in range(windows):
        batch, reference, unknown = make(rng)
        test = compare(as_batch(batch, unknown, f"{name} {index}"), reference, rules).test
        p_value = test.p_value if test is not None else None
        alarm = judge_windows(p_value, history, rules, datetime.now(UTC)).alarm
        history.append(Window(str(index), p_value, alarm, datetime.now(UTC).isoformat()))
        found.append(p_value)
        plain.append(ks_p(batch, reference))
        if ask_naive:
            naive.append(naive_p(batch, reference, rules, rng))
    values = np.array([1.0 if p is None else p for p in found])
    return {
        "windows": name,
        "n": windows,
        f"p <= {rules.alpha:g}": float((values <= rules.alpha).mean()),
        f"p <= {rules.strict_alpha:g}": float((values <= rules.strict_alpha).mean()),
        "alarms": float(np.mean([window.alarm for window in history])),
        "naive test, p <= alpha": float((np.array(naive) <= rules.alpha).mean()) if naive else None,
        "KS of each figure, p <= alpha": float((np.array(plain) <= rules.alpha).mean()),
        "s a window": round((time.monotonic() - begun) / windows, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of the catalogue's images")
    parser.add_argument("--labels", type=Path, required=True, help="CSV that names file and sender")
    parser.add_argument("--file-column", default="file")
    parser.add_argument("--sender-column", default="sender_id")
    parser.add_argument("--foreign", type=Path, required=True, help="folder of the foreign images")
    parser.add_argument("--most", type=int, default=700, help="most foreign images that are scored")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=Path(".packshot/cache/drift-benchmark"))
    given = parser.parse_args()
    cv2.setNumThreads(1)
    settings = load_settings()
    judge = Judge.load(given.bundle)
    labels = pd.read_csv(given.labels, dtype=str).set_index(given.file_column)[given.sender_column]
    own = features(judge, [given.images / name for name in labels.index], settings, given.cache / "own.parquet", "own")
    others = sorted(path for path in given.foreign.rglob("*") if path.is_file())
    others = [others[i] for i in np.random.default_rng(1).permutation(len(others))[: given.most]]
    alien = features(judge, others, settings, given.cache / "foreign.parquet", "foreign")
    pool = Pool(to_sample(own, labels.loc[own["path"]].reset_index(drop=True)))
    foreign = to_sample(alien, pd.Series(range(len(alien))))
    machine = platform.processor() or platform.machine()
    print(f"{len(own)} images of {pool.sample.n_groups} senders, {len(alien)} foreign; {machine}")
    rows = [
        measure(name, make, naive, settings.drift, given.windows)
        for name, make, naive in track(scenarios(pool, foreign), "scenarios", unit="scenarios")
    ]
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))


if __name__ == "__main__":
    main()
