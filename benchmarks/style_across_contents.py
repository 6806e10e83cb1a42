"""Is it style, or what the picture shows? Six emoji sets draw the same objects, each in a style of its own.

    python benchmarks/style_across_contents.py [--objects 300] [--side 256] [--plot style_across_contents.png]

Seven objects in ten teach; the others are unseen. First table: how many of their pictures get the right style, from the
network as training starts it and as training leaves it, beside what simpler features reach.

Second table, over the pictures of unseen objects, by cosine. A query is a picture of an object in a style.
  style first       share of all (query, other object in the query's style, the query's object in another style) in
                    which the second is more like the query than the third
  nearest first     share of queries whose nearest in their style is nearer than their object is in any other style
  style found       share of queries to which the nearest picture of another object is one of their style
  content found     share of queries whose nearest among other styles' pictures shows their object: less is better
  style not known   `style first` of each style's queries where that style lent no label to the space; mean over styles
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import resvg_py
import torch
from rich.console import Console
from rich.table import Table
from sklearn.svm import SVC

from emoji_sets import Drawing, as_svg, emoji_sets, rendered, shared_objects
from packshot.config import Settings, load_settings
from packshot.evaluation import plots
from packshot.model.examples import ExampleSpace
from packshot.model.network import PackshotNet
from packshot.model.parallel import each_on_one_core, one_core, worker_count
from packshot.progress import say, track
from packshot.training.build import architecture_of
from packshot.training.closed_form import ridge_classifier
from packshot.training.dataset import Dataset, Rows
from packshot.training.extraction import ArrayCache, Arrays, Extractor
from packshot.training.fit import Task, fit
from packshot.training.pretrained import pretrained_backbone
from packshot.training.sources import KeptFeatures
from packshot.training.warm_start import warm_start

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Space = Callable[[Floats, Codes], Callable[[Floats], Floats]]
"""Learns from training rows N x D and their styles, N; the result maps rows."""
TRAIN_SHARE = 0.7
INNER_SHARE = 8
"""One training object in this many stops the training."""
SHRINK = 0.1
"""Share of the within-style covariance that is replaced by a sphere of its size."""
KEPT_SPREAD = 0.03
"""What axes in which styles do not differ count, as a share of the axis in which they differ most."""
LENGTH = 10.0
"""Typical length of the rows that a ridge classifier learns from: its penalties suit about that."""


@dataclass(frozen=True)
class Retrieval:
    """Shares of queries, 0..1, as at the head of the file."""

    style_first: float
    nearest_first: float
    style_found: float
    content_found: float


def retrieval(points: Floats, queries: Iterable[int] | None = None) -> Retrieval:
    """Figures of points, objects x styles x D; queries are of the styles named, else of all.

    At least two objects and two styles. The cosine decides; equal ones do not come first.
    """
    objects, styles = points.shape[:2]
    asked = list(range(styles)) if queries is None else list(queries)
    unit = points / np.maximum(np.linalg.norm(points, axis=2, keepdims=True), 1e-12)
    size = unit.shape[2]
    cosine = (unit[:, asked].reshape(-1, size) @ unit.reshape(-1, size).T).reshape(-1, objects, styles)
    rows = []
    for place, near in enumerate(cosine):
        thing, style = place // len(asked), asked[place % len(asked)]
        others, elsewhere = np.arange(objects) != thing, np.arange(styles) != style
        same_style, same_object = near[others, style], near[thing, elsewhere]
        neither = near[others][:, elsewhere].max()
        rows.append(
            (
                (same_style[:, None] > same_object).mean(),
                same_style.max() > same_object.max(),
                same_style.max() > neither,
                same_object.max() > neither,
            )
        )
    return Retrieval(*np.mean(np.array(rows, dtype=float), axis=0).tolist())


def centred(rows: Floats, styles: Codes) -> Callable[[Floats], Floats]:
    """Nothing but the mean of the training rows taken away, so that the cosine is fair to it."""
    centre = rows.mean(axis=0)
    return lambda points: np.asarray(points - centre)


def quietened(rows: Floats, styles: Codes) -> Callable[[Floats], Floats]:
    """Axes divided by the square root of their spread; needs no label."""
    space = ExampleSpace.fit([rows])
    return lambda points: space.place([points])


def whitened(rows: Floats, styles: Codes) -> Callable[[Floats], Floats]:
    """Within a style all directions spread alike: those in which its objects differ are taken back.

    Within-class covariance normalisation (Hatch et al., 2006), the covariance shrunk towards a sphere.
    """
    centre, axes = rows.mean(axis=0), _whitening(rows, styles)
    return lambda points: np.asarray((points - centre) @ axes)


def weighted(rows: Floats, styles: Codes) -> Callable[[Floats], Floats]:
    """`whitened`, then axes weighted by how far the means of styles lie apart on them, as in discriminant analysis."""
    centre, axes = rows.mean(axis=0), _whitening(rows, styles)
    means = (_means(rows, styles) - centre) @ axes
    spread, turn = np.linalg.eigh(means.T @ means / len(means))
    axes = axes @ turn * np.sqrt(np.maximum(spread, 0) + KEPT_SPREAD * spread[-1])
    return lambda points: np.asarray((points - centre) @ axes)


def _means(rows: Floats, styles: Codes) -> Floats:
    return np.stack([rows[styles == code].mean(axis=0) for code in np.unique(styles)])


def _whitening(rows: Floats, styles: Codes) -> Floats:
    inner = rows - _means(rows, styles)[np.searchsorted(np.unique(styles), styles)]
    covariance = inner.T @ inner / len(inner)
    size = np.trace(covariance) / len(covariance)
    spread, axes = np.linalg.eigh((1 - SHRINK) * covariance + SHRINK * size * np.eye(len(covariance)))
    return np.asarray(axes / np.sqrt(spread))


def accuracy(rows: Floats, styles: Codes, unseen: Floats, truth: Codes) -> float:
    """Share of `unseen` (M x D) whose style a ridge classifier, taught by `rows` (N x D), tells."""
    centre = rows.mean(axis=0)
    scale = LENGTH / np.sqrt(((rows - centre) ** 2).sum(axis=1).mean())
    weights, bias = ridge_classifier((rows - centre) * scale, styles.tolist(), int(styles.max()) + 1)
    said = ((unseen - centre) * scale) @ weights.T + bias
    return float((said.argmax(axis=1) == truth).mean())


def svm_accuracy(rows: Floats, styles: Codes, unseen: Floats, truth: Codes) -> float:
    """The same by a linear support vector machine."""
    scale = LENGTH / np.sqrt((rows**2).sum(axis=1).mean())
    machine = SVC(kernel="precomputed", C=1.0).fit(scale**2 * rows @ rows.T, styles)
    return float((machine.predict(scale**2 * unseen @ rows.T) == truth).mean())


def features(
    network: PackshotNet, drawings: Sequence[Drawing], side: int, folder: Path, workers: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Statistics, N x S, and Gram vectors, N x G, of drawings at `side` pixels; those kept below `folder` are read."""
    extractor = Extractor.of(network)
    cache = ArrayCache(folder / "features" / extractor.key)

    def one(drawing: Drawing) -> Arrays:
        svg = as_svg(drawing)
        key = hashlib.sha256(f"{resvg_py.__version__}\n{side}\n{svg}".encode()).hexdigest()
        return cache.kept(key, lambda: extractor(rendered(svg, side)))

    found = list(track(each_on_one_core(one, drawings, workers), "emoji", len(drawings)))
    stats, gram = (torch.from_numpy(np.stack([each[name] for each in found])) for name in ("stats", "gram"))
    return stats.float(), gram


def as_dataset(stats: torch.Tensor, gram: torch.Tensor, styles: Sequence[str]) -> Dataset:
    """Rows object by object, each in all styles; no scores and no text."""
    count = len(stats)
    return Dataset(
        index=pd.DataFrame({"group": [str(row // len(styles)) for row in range(count)]}),
        stats=stats,
        gram=gram,
        text=torch.zeros(count, 0),
        has_text=torch.zeros(count, 1),
        quality=torch.full((count,), torch.nan),
        style=torch.arange(count) % len(styles),
        source=torch.zeros(count, dtype=torch.int64),
        styles=tuple(styles),
    )


@dataclass(frozen=True)
class Experiment:
    """The data, and which rows teach."""

    data: Dataset
    train: Rows
    unseen: Rows

    def rows_of(self, values: torch.Tensor) -> tuple[Floats, Codes, Floats, Codes]:
        """Training rows of `values` (N x D) and their styles, then those of unseen objects."""
        parts = ((values[rows].double().numpy(), self.data.style[rows].numpy()) for rows in (self.train, self.unseen))
        (rows, styles), (unseen, truth) = parts
        return rows, styles, unseen, truth

    def measured(self, values: torch.Tensor, space: Space) -> tuple[Retrieval, float]:
        """Figures of `values` (N x D) in `space`, and `style not known`."""
        rows, styles, unseen, _ = self.rows_of(values)
        count = len(self.data.styles)
        shape = (len(unseen) // count, count, -1)
        known = retrieval(space(rows, styles)(unseen).reshape(shape))
        left_out = []
        for style in range(count):
            others = styles != style
            left_out.append(retrieval(space(rows[others], styles[others])(unseen).reshape(shape), [style]).style_first)
        return known, float(np.mean(left_out))

    def right(self, network: PackshotNet) -> float:
        """Share of unseen rows whose style the network tells."""
        with torch.inference_mode():
            seen = network.perceive(KeptFeatures(network, self.data, None).rows(self.unseen))
        return float((seen.logits.argmax(dim=1) == self.data.style[self.unseen]).float().mean())


def learned(settings: Settings, experiment: Experiment, trained: bool) -> PackshotNet:
    """The network in its closed-form start on all training rows or, `trained`, as its training leaves it.

    Training starts from, and learns on, seven objects in eight; the others stop it.
    """
    data, seed = experiment.data, settings.training.seed
    nothing = np.zeros(0, dtype=np.int64)
    torch.manual_seed(seed)
    network = PackshotNet(architecture_of(settings, data.styles, 1, 1))
    network.backbone.requires_grad_(False)
    inner = experiment.train[experiment.train // len(data.styles) % INNER_SHARE == 0] if trained else nothing
    rows = np.setdiff1d(experiment.train, inner)
    warm_start(network, data, rows, None, nothing, seed)
    if trained:
        task = Task(data, None, rows, inner, nothing, nothing, enhance=False)
        fit(network, task, KeptFeatures(network, data, None), settings.training, quiet=True)
    return network.eval()


@torch.no_grad()
def compare(settings: Settings, experiment: Experiment) -> tuple[dict[str, float], dict[str, tuple[Retrieval, float]]]:
    """Accuracy by method, and figures of retrieval by space."""
    data = experiment.data
    say("style: the closed-form start")
    start = learned(settings, experiment, False)
    say("style: training")
    with torch.enable_grad():
        trained = learned(settings, experiment, True)
    last = start.backbone.channels[-1]
    first = 2 * sum(start.backbone.channels[:-1])
    # the first view's last stage: its means, before its deviations
    pooled = start.trunk.standardise(data.stats)[:, first : first + last]
    gram = start.style_space.standardise(data.gram.float())
    styled, after = start.style_space(data.gram.float()), trained.style_space(data.gram.float())
    say("style: baselines")
    right = {
        "always one style": 1 / len(data.styles),
        "means of the last stage, ridge": accuracy(*experiment.rows_of(pooled)),
        "Gram vectors, support vector machine": svm_accuracy(*experiment.rows_of(gram)),
        "Gram vectors, ridge": accuracy(*experiment.rows_of(gram)),
        "style space, ridge": accuracy(*experiment.rows_of(styled)),
        "network, closed-form start": experiment.right(start),
        "network, trained": experiment.right(trained),
    }
    spaces: list[tuple[str, torch.Tensor, Space]] = [
        ("means of the last stage", pooled, centred),
        ("Gram vectors", gram, centred),
        ("style space", styled, centred),
        ("style space, trained", after, centred),
        ("quietened", styled, quietened),
        ("whitened within styles", styled, whitened),
        ("whitened, weighted by style", styled, weighted),
    ]
    return right, {
        name: experiment.measured(values, space) for name, values, space in track(spaces, "retrieval", unit="spaces")
    }


def draw_bars(found: Mapping[str, tuple[Retrieval, float]], title: str, path: Path) -> None:
    """Write a PNG: `style first` of each space, known styles above unknown ones."""
    fig, axes = plots.figure(7.2, 0.6 * len(found) + 1.4)
    places = np.arange(len(found))
    axes.barh(places - 0.2, [known.style_first for known, _ in found.values()], 0.38, color=plots.PALETTE[0])
    axes.barh(places + 0.2, [unknown for _, unknown in found.values()], 0.38, color=plots.MUTED)
    for colour, label in ((plots.PALETTE[0], "styles known"), (plots.MUTED, "style not known")):
        axes.plot([], [], "s", color=colour, label=label)
    axes.set_yticks(places, list(found))
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="same style, other object before same object, other style", title=title)
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    plots.save(fig, path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=300, help="objects at most, 0 for all (default 300)")
    parser.add_argument("--side", type=int, default=256, help="of the pictures, pixels (default 256)")
    parser.add_argument("--seed", type=int, default=17, help="which objects, and which are unseen (default 17)")
    parser.add_argument("--folder", type=Path, default=Path(".packshot/cache/emoji"), help="for what is fetched, made")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    given = parser.parse_args()
    settings = load_settings()
    sets = emoji_sets(given.folder / "packages")
    shared = shared_objects(sets.values())
    chosen = np.random.default_rng(given.seed).permutation(len(shared))[: given.objects or None]
    drawings = [
        each.drawings[name] for thing in chosen for each, name in zip(sets.values(), shared[thing], strict=True)
    ]
    network = PackshotNet(architecture_of(settings, ()))
    network.backbone = pretrained_backbone(settings.network.backbone, settings.network.weights)
    workers = worker_count(settings.training.threads)
    kept = features(network.eval(), drawings, given.side, given.folder, workers)
    data, split = as_dataset(*kept, tuple(sets)), round(TRAIN_SHARE * len(chosen)) * len(sets)
    rows = np.arange(len(drawings))
    with one_core():
        right, found = compare(settings, Experiment(data, rows[:split], rows[split:]))
    seen, unseen = split // len(sets), len(chosen) - split // len(sets)
    title = f"{len(shared)} objects in {len(sets)} styles; {seen} taught, {unseen} unseen"
    table = Table("style told by", "right", title=title)
    for method, share in right.items():
        table.add_row(method, f"{share:.1%}")
    Console().print(table)
    columns = ("space", "style first", "nearest first", "style found", "content found", "style not known")
    table = Table(*columns, title=f"Retrieval among {unseen} unseen objects")
    table.columns[0].no_wrap = True
    for name, (known, unknown) in found.items():
        table.add_row(name, *(f"{share:.3f}" for share in (*vars(known).values(), unknown)))
    Console().print(table)
    if given.plot:
        draw_bars(found, f"Emoji, n = {len(sets) * unseen} pictures of unseen objects", given.plot)


if __name__ == "__main__":
    main()
