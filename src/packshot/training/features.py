"""The features stage: every image once through the frozen backbone, and the degraded pairs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save

from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits, resolve_inside
from packshot.catalog.manifest import read_manifest
from packshot.catalog.source_record import read_source
from packshot.catalog.statistics import image_statistics
from packshot.catalog.texts import row_text
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import remove_unfinished, write_bytes, write_parquet
from packshot.home import Home
from packshot.inference.torch_runtime import network_of
from packshot.inference.weights import Source
from packshot.model.network import PackshotNet
from packshot.model.parallel import each_on_one_core, worker_count
from packshot.model.preprocess import Image
from packshot.model.text import TEXT_SIZES, build_text_encoder
from packshot.progress import say, track
from packshot.revision import SPLIT_MANIFEST
from packshot.training import layout
from packshot.training.build import architecture_of
from packshot.training.extraction import ArrayCache, Arrays, Extractor, joined
from packshot.training.pairs import lesson, pair_key, pair_rows, signal_of, spoil, steps_of
from packshot.training.planting import planted_key, planted_lesson
from packshot.training.pretrained import pretrained_backbone

KEPT = (
    "image_id", "path", "source", "subset", "sender", "category", "group", "split", "quality_mos", "style",
    "width", "height",
)  # fmt: skip
ATTEMPTS = Path("data/valid/features.attempts")
"""Which pictures ended their decoder, until the stage is done; no output of it."""
MEASURED = ("brightness", "contrast", "saturation", "white_share", "sharp_laplacian")


class NothingToLearn(PackshotError):
    """The split manifest has no row."""

    exit_code = 65


class TeacherMissing(PackshotError):
    """The recipe names a model as its teacher, whose network is not at hand."""

    exit_code = 66


def build_features(settings: Settings, workspace: Path, teacher: Source | None = None) -> None:
    """Write `data/features/`: statistics and Gram vectors of every usable image, text vectors, degraded pairs.

    `teacher` is the network of the model that the recipe names as its teacher, where it names one. What was computed
    before, for the same bytes and the same backbone, comes from the cache under PACKSHOT_HOME.
    The files are the same, byte for byte, for the same manifest. Raises NothingToLearn for an empty manifest,
    TeacherMissing.
    """
    manifest = read_manifest(workspace / SPLIT_MANIFEST)
    if manifest.empty:
        raise NothingToLearn(f"{SPLIT_MANIFEST} has no rows; look at data/valid/quarantine.parquet for the reasons")
    profile = settings.profiles[read_source(workspace).profile]  # type: ignore[index]
    extractor = _extractor(settings)
    for output in (
        *(layout.VALUES, layout.INDEX, layout.PAIR_VALUES, layout.PAIR_INDEX),
        *(layout.FAULT_VALUES, layout.FAULT_INDEX, layout.TEACHER_VALUES),
    ):
        remove_unfinished(workspace / output)
    attempts = Attempts(workspace / ATTEMPTS)
    opener = _opener(settings, workspace, attempts)
    workers = worker_count(settings.training.threads)
    _write_images(manifest, extractor, opener, workers, settings, workspace)
    _write_teacher(manifest, opener, workers, settings, workspace, teacher)
    chosen = pair_rows(manifest, profile, settings.training.chosen, settings.training.seed)
    _write_pairs(chosen, extractor, opener, workers, settings, workspace)
    faulty = settings.training.chosen.model_copy(update={"pairs": settings.training.chosen.fault_pictures})
    planted = pair_rows(manifest, profile, faulty, settings.training.seed)
    _write_faults(planted, extractor, opener, workers, settings, workspace)
    attempts.forget()


def _extractor(settings: Settings) -> Extractor:
    """That of the recipe in force."""
    network = PackshotNet(architecture_of(settings, styles=()))
    network.backbone = pretrained_backbone(settings.network.backbone, settings.network.weights)
    return Extractor.of(network.eval(), settings.training.threads)


def _opener(settings: Settings, workspace: Path, attempts: Attempts) -> Callable[[str], np.ndarray]:
    limits = ImageLimits.from_settings(settings.validation)
    root = workspace / layout.IMAGES
    return lambda path: decode(resolve_inside(root, path), limits, attempts=attempts)


def _write_images(
    manifest: pd.DataFrame,
    extractor: Extractor,
    opener: Callable[[str], np.ndarray],
    workers: int,
    settings: Settings,
    workspace: Path,
) -> None:
    by_id = _seen(manifest, extractor, opener, workers, "features")
    order = manifest["image_id"].astype(str).tolist()
    text, has_text = _text_vectors(manifest, settings)
    arrays = {
        "stats": np.stack([by_id[name]["stats"] for name in order]),
        "gram": np.stack([by_id[name]["gram"] for name in order]),
        "text": text,
        "has_text": has_text,
    }
    measured = np.stack([by_id[name]["measured"] for name in order])
    index = manifest[list(KEPT)].reset_index(drop=True)
    for place, name in enumerate(MEASURED):
        index[name] = measured[:, place]
    write_bytes(workspace / layout.VALUES, save(arrays, metadata={"key": extractor.key}))
    write_parquet(workspace / layout.INDEX, index)


def _write_teacher(
    manifest: pd.DataFrame,
    opener: Callable[[str], np.ndarray],
    workers: int,
    settings: Settings,
    workspace: Path,
    teacher: Source | None,
) -> None:
    """What the teacher of the recipe sees of every row; without one no such file stays behind."""
    target, named = workspace / layout.TEACHER_VALUES, settings.training.chosen.teacher
    if named is None:
        target.unlink(missing_ok=True)
        return
    extractor, trunk_dim = _teacher(settings, named, teacher)
    by_id = _seen(manifest, extractor, opener, workers, f"what {named} sees")
    stats = np.stack([by_id[name]["stats"] for name in manifest["image_id"].astype(str)])
    write_bytes(target, save({"stats": stats}, metadata={"key": extractor.key, "trunk_dim": str(trunk_dim)}))


def _teacher(settings: Settings, named: str, teacher: Source | None) -> tuple[Extractor, int]:
    """How a teacher looks at pictures, and on how many axes it tells quality."""
    if settings.training.chosen.teaching_model is None:
        taught_by = settings.with_recipe(named)
        return _extractor(taught_by), taught_by.network.trunk_dim
    if teacher is None:
        raise TeacherMissing(f"the recipe {settings.training.recipe} learns from {named}, whose network was not given")
    return Extractor.of(network_of(teacher), settings.training.threads), teacher.architecture.trunk_dim


def _seen(
    manifest: pd.DataFrame, extractor: Extractor, opener: Callable[[str], np.ndarray], workers: int, what: str
) -> dict[str, Arrays]:
    """What an extractor says of every picture of a manifest, by image_id; kept by content."""
    folder = Home.from_environment().features
    cache, signals = ArrayCache(folder / extractor.backbone_key), ArrayCache(folder / f"signal-{extractor.signal_key}")

    def one(job: tuple[str, str]) -> tuple[str, Arrays]:
        image_id, path = job
        image = functools.cache(lambda: opener(path))
        pixels = functools.cache(lambda: extractor.views(image()))
        deep = cache.kept(image_id, lambda: extractor.backbone(pixels()) | _measured(image()))
        return image_id, joined(deep, signals.kept(image_id, lambda: extractor.signal(pixels())))

    unique = manifest.drop_duplicates("image_id")
    jobs = list(zip(unique["image_id"].astype(str), unique["path"].astype(str), strict=True))
    results = each_on_one_core(one, jobs, workers)
    return dict(track(results, what, total=len(jobs)))


def _measured(image: Image) -> Arrays:
    found = image_statistics(image)
    return {"measured": np.array([found[name] for name in MEASURED])}


def _text_vectors(manifest: pd.DataFrame, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Sentence vectors of the rows that have both text and a style: only those can teach the text branch."""
    name = settings.network.text_encoder
    texts = [row_text(row) if isinstance(row["style"], str) else None for _, row in manifest.iterrows()]
    places = [place for place, text in enumerate(texts) if text]
    mask = np.zeros((len(texts), 1), dtype=np.float16)
    if name == "none" or not places:
        return np.zeros((len(texts), 0), dtype=np.float16), mask
    vectors = np.zeros((len(texts), TEXT_SIZES[name]), dtype=np.float16)
    say(f"features: {len(places)} texts through {name}")
    vectors[places] = build_text_encoder(name)([texts[place] or "" for place in places])
    mask[places] = 1
    return vectors, mask


def _write_pairs(
    rows: pd.DataFrame,
    extractor: Extractor,
    opener: Callable[[str], np.ndarray],
    workers: int,
    settings: Settings,
    workspace: Path,
) -> None:
    recipe, seed = settings.training.chosen, settings.training.seed
    cache = ArrayCache(Home.from_environment().features / "pairs")

    def one(job: tuple[str, str]) -> Arrays:
        image_id, path = job
        spoilt = functools.cache(lambda: spoil(opener(path), image_id, recipe, seed))
        keys = [pair_key(key, image_id, recipe, seed) for key in (extractor.backbone_key, extractor.signal_key)]
        pixels = functools.cache(lambda: [extractor.views(copy) for copy in spoilt().copies])
        deep = cache.kept(keys[0], lambda: lesson(spoilt(), pixels(), recipe, extractor, seed))
        return joined(deep, cache.kept(keys[1], lambda: signal_of(pixels(), extractor)))

    jobs = list(zip(rows["image_id"].astype(str), rows["path"].astype(str), strict=True))
    results = list(track(each_on_one_core(one, jobs, workers), "degraded pairs", total=len(jobs)))
    write_bytes(workspace / layout.PAIR_VALUES, save(_stacked(results), metadata={"key": extractor.key}))
    write_parquet(workspace / layout.PAIR_INDEX, _pair_index(rows, settings))


def _write_faults(
    rows: pd.DataFrame,
    extractor: Extractor,
    opener: Callable[[str], np.ndarray],
    workers: int,
    settings: Settings,
    workspace: Path,
) -> None:
    copies, seed = settings.training.chosen.fault_copies, settings.training.seed
    cache = ArrayCache(Home.from_environment().features / "faults")

    def one(job: tuple[str, str]) -> Arrays:
        image_id, path = job
        key = planted_key(extractor.signal_key, image_id, copies, seed)
        return cache.kept(key, lambda: planted_lesson(opener(path), image_id, copies, extractor, seed))

    jobs = list(zip(rows["image_id"].astype(str), rows["path"].astype(str), strict=True))
    results = list(track(each_on_one_core(one, jobs, workers), "planted faults", total=len(jobs)))
    found = {name: np.concatenate([each[name] for each in results]) for name in results[0]} if results else {}
    write_bytes(workspace / layout.FAULT_VALUES, save(found, metadata={"key": extractor.signal_key}))
    index = rows[["image_id", "source", "group", "split"]].loc[rows.index.repeat(copies)].reset_index(drop=True)
    write_parquet(workspace / layout.FAULT_INDEX, index)


def _stacked(results: Sequence[Arrays]) -> Arrays:
    names = ("stats", "attributes", "severity", "patches")
    if not results:
        return {name: np.zeros((0,), dtype=np.float16) for name in names}
    return {name: np.concatenate([found[name] for found in results]) for name in names}


def _pair_index(rows: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    recipe, seed = settings.training.chosen, settings.training.seed
    records = []
    for _, row in rows.iterrows():
        for copy, steps in enumerate(steps_of(str(row["image_id"]), recipe, seed)):
            records.append(
                {
                    "image_id": str(row["image_id"]),
                    "path": str(row["path"]),
                    "group": str(row["group"]),
                    "split": str(row["split"]),
                    "copy": copy,
                    "degradations": "+".join(map(str, steps)),
                }
            )
    columns = ["image_id", "path", "group", "split", "copy", "degradations"]
    return pd.DataFrame(records, columns=columns)
