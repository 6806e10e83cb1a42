"""The trained model as an object and as files: `weights.safetensors`, `bundle.json`, `reference.parquet`; where people
scored enough pictures `out_of_fold.parquet`; with several quality heads, `folds.parquet`; and where clean pictures
taught it to find faults, `faults.safetensors`, and what repairing them gains,
`gain.safetensors`; and which pictures its styles are for, `scope.safetensors`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from packshot.errors import PackshotError
from packshot.faults.detector import Detector, Found, read_detector
from packshot.inference.fastest import fastest_runtime
from packshot.inference.gain import Before, Forest, evidence, read_forest, shown
from packshot.inference.heads import Heads, softmax
from packshot.inference.repairs import Enhancing, Repair, gains_of, kept_ground
from packshot.inference.runtime import OpenRuntime, Runtime
from packshot.inference.scope import Scope, read_scope
from packshot.inference.weights import Source, WeightsUnreadable, read_weights
from packshot.model import preprocess
from packshot.model.architecture import Architecture
from packshot.model.ground import keep_white_ground
from packshot.model.parallel import one_core
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.model.text import SentenceEncoder, build_text_encoder

WEIGHTS = "weights.safetensors"
RECORD = "bundle.json"
REFERENCE = "reference.parquet"
FOLDS = "folds.parquet"
"""Where the overall score has several heads: image_id, group, and the head (fold) that did not learn from them."""
FORMAT_VERSION = 5
Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class BundleError(PackshotError):
    """A bundle is missing, damaged, or of another version."""

    exit_code = 66


class NotAnImageArray(PackshotError):
    """`judge` or `enhance` was given something that is not uint8, H x W x 3."""

    exit_code = 65


class Calibration(BaseModel):
    """What turns raw outputs into honest ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    temperature: float = Field(gt=0)
    """Style logits are divided by this."""
    interval_scale: float = Field(ge=0)
    """Conformal quantile of |error| / expected error: half the interval in units of the expected error."""
    interval_coverage: float = Field(gt=0, lt=1)
    """Share of human scores that the interval holds, on images like the training images."""
    interval_rows: int = Field(ge=0)
    """Out-of-fold predictions behind the interval; 0: no human score was there, the interval is 0..1."""


class Adaptation(BaseModel):
    """Where an adapted model came from, and what it was shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: str
    """Name and version of the model it was, or the name of its folder."""
    source_sha256: str
    """Digest of that bundle's files."""
    pictures: int
    """Unlabelled pictures learned from; those held out to measure are not among them."""
    pictures_sha256: str
    """Digest of their ids, sorted."""
    settings: dict[str, float]
    """Section `adapt` as it was."""
    calibration_refitted: bool
    """Whether intervals and confidences were fitted anew; without labels they are those of the source."""


class BundleVersions(BaseModel):
    """What of `bundle.json` is read first: the rest may be named otherwise in another version."""

    format_version: int
    preprocessing_version: int


class BundleRecord(BaseModel):
    """`bundle.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: int
    preprocessing_version: int
    packshot_version: str
    torch_version: str
    architecture: Architecture
    calibration: Calibration
    text_seen: bool
    """Whether the classifier met any text in training; if not, text is ignored and its encoder never loaded."""
    profile: str
    """Profile of the source it was trained on."""
    run_key: dict[str, str]
    """data_rev, code_rev, params_hash."""
    recipe: str
    epochs: int
    """Epochs trained; the state kept is that of `best_epoch`, -1 being the closed-form start."""
    best_epoch: int
    metrics: dict[str, float]
    """Figures on the validation split at the state kept; of an adapted model, on its held-out pictures."""
    adaptation: Adaptation | None = None
    """Absent where the model is as training left it."""


@dataclass(frozen=True)
class Judgement:
    """What the model says of one image. All scores lie in 0..1."""

    quality: float
    quality_low: float
    quality_high: float
    sharpness: float
    colour_balance: float
    detail: float
    style: str | None
    """The nearest style; None where the model knows none. It means nothing where it was not `style_taught`."""
    style_confidence: float
    style_vector: npt.NDArray[np.float32]
    """Unit vector in the style space, style_dim."""
    embedding: npt.NDArray[np.float32]
    """At most 64 principal components of the stage statistics, for drift checks and maps."""
    style_taught: bool = True
    """Whether the picture is of a kind whose styles the model was taught."""
    faults: tuple[Found, ...] | None = None
    """Every fault that is looked for, in the order of `packshot.faults.NAMES`; None where the bundle finds none."""


@dataclass(frozen=True)
class Mended:
    """A repaired picture, `image` (as the input, uint8 H x W x 3 RGB), the way that was chosen, and by how many dB of
    PSNR it is expected to be nearer to the true picture than the input."""

    image: Image
    repair: str
    gain: float


def read_record(folder: Path) -> BundleRecord:
    """`bundle.json` of a bundle. Raises BundleError naming the file and what is wrong with it."""
    path = folder / RECORD
    try:
        text = path.read_bytes()
        made = BundleVersions.model_validate_json(text)
        if (made.format_version, made.preprocessing_version) != (FORMAT_VERSION, preprocess.VERSION):
            raise BundleError(
                f"{path} is of format {made.format_version} and preprocessing {made.preprocessing_version}; this "
                f"Packshot reads {FORMAT_VERSION} and {preprocess.VERSION}. Train again, or use the Packshot that made "
                "it."
            )
        return BundleRecord.model_validate_json(text)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); is {folder} a bundle?") from error
    except ValidationError as error:
        raise BundleError(f"{path} is not a valid bundle record: {error}") from error


def read_network(folder: Path, record: BundleRecord | None = None) -> Source:
    """The network of a bundle folder, as arrays; `record` where it was read already. Raises BundleError."""
    architecture = (record or read_record(folder)).architecture
    try:
        return Source(architecture, read_weights(folder / WEIGHTS))
    except WeightsUnreadable as error:
        raise BundleError(str(error)) from error


class Judge:
    """A loaded model. An image gets the same score alone and in a batch: each goes through the backbone by itself.

    `runtime` computes features and enhancement, the heads are numpy's: torch is not needed. `blind`: image id or group
    to the quality head that did not learn from it. Several threads may ask.
    """

    def __init__(
        self,
        source: Source,
        record: BundleRecord,
        runtime: Runtime,
        blind: Mapping[str, int] | None = None,
        detector: Detector | None = None,
        gain: Forest | None = None,
        scope: Scope | None = None,
    ) -> None:
        self._heads = Heads(source)
        self._detector = detector
        self._scope = scope
        self._gain = gain if detector is not None else None
        self._blind = blind or {}
        self.bundle = record
        self._runtime = runtime
        self._enhancing = Enhancing(self._heads, runtime)
        self._encoder: SentenceEncoder | None = None

    @classmethod
    def load(
        cls, folder: Path, device: str = "auto", threads: int = 0, open_runtime: OpenRuntime | None = None
    ) -> Judge:
        """Load a bundle folder; `device` is auto, cpu or cuda. `threads` 0: all cores that this process may use.
        `open_runtime` is `fastest_runtime` where none is given.

        The backbone's weights are in the bundle, so nothing is fetched. Raises BundleError, FaultsUnreadable,
        GainUnreadable, ScopeUnreadable, NoSuchDevice, TorchMissing.
        """
        folder = Path(folder)
        record = read_record(folder)
        source = read_network(folder, record)
        open_runtime = open_runtime or fastest_runtime(device)
        parts = (read_detector(folder), read_forest(folder), read_scope(folder))
        blind = _read_blind(folder / FOLDS)
        try:
            return cls(source, record, open_runtime(source, threads), blind, *parts)
        except (WeightsUnreadable, KeyError, ValueError, RuntimeError) as error:
            raise BundleError(f"{folder / WEIGHTS} does not hold this network's weights: {error}") from error

    def with_network(self, source: Source, device: str, threads: int = 0) -> Judge:
        """The same with another network of the same shape."""
        runtime = fastest_runtime(device)(source, threads)
        return Judge(source, self.bundle, runtime, self._blind, self._detector, self._gain, self._scope)

    def blind_heads(self, image_ids: Sequence[str], groups: Sequence[str]) -> list[int] | None:
        """For each image the quality head that learned from nothing of its group, -1 where none of them did.

        None where no head has learned from held-out rows: there is one head, and it may judge them all.
        """
        if not self._blind:
            return None
        pairs = zip(image_ids, groups, strict=True)
        return [self._blind.get(group, self._blind.get(image_id, -1)) for image_id, group in pairs]

    def judge(
        self,
        images: Sequence[Image],
        texts: Sequence[str | None] | None = None,
        heads: Sequence[int] | None = None,
    ) -> list[Judgement]:
        """Judge RGB images (uint8, H x W x 3, any size), with what the shop says of each where it says anything.

        `heads` names one quality head an image (see `blind_heads`), where a held-out row is to be judged by one that
        has not learned from it; the mean of all is the score otherwise. Raises NotAnImageArray.
        """
        if not images:
            return []
        for image in images:
            check_image(image)
        features = self._runtime.features(images)
        text, mask = self._text(texts, len(images))
        with one_core():
            seen = self._heads.perceive(features, text, mask, heads)
            half = np.float32(self.bundle.calibration.interval_scale) * seen.expected_error
            arrays = {
                "quality": seen.quality,
                "low": np.maximum(seen.quality - half, 0),
                "high": np.minimum(seen.quality + half, 1),
                "attributes": seen.attributes,
                "confidence": softmax(seen.logits / np.float32(self.bundle.calibration.temperature)),
                "style": seen.style,
                "embedding": seen.embedding,
            }
            faults = self._faults(features.stats)
            taught = np.ones(len(images), dtype=bool)
            if self._scope is not None:
                taught = self._scope.covers(arrays["embedding"], arrays["style"])
        return [self._judgement(arrays, place, bool(taught[place]), faults[place]) for place in range(len(images))]

    @property
    def mends(self) -> bool:
        """Whether the bundle can say what a repair gains, so that `mend` may be asked."""
        return self._gain is not None

    def mend(self, image: Image, max_harm: float, faults: Collection[str] | None = None) -> Mended | None:
        """The repair that brings an image nearest to the true picture, by expectation; None where none is sure to.

        `max_harm`, 0..1: of what is delivered at most this share may be further from the true picture; that holds for
        damage as it was planted in training. `faults` are those that the image has: what mends none of them is not
        tried; None: unknown, everything is. Where the bundle has not learned what repairs gain, ValueError. Raises
        NotAnImageArray.
        """
        check_image(image)
        if self._gain is None or self._detector is None:
            raise ValueError("this bundle has not learned what repairs gain; ask `mends` first")
        least, view = self._gain.least(max_harm), shown(image)
        wanted = [each for each in self._enhancing.repairs(image) if faults is None or each.mends & set(faults)]
        if not wanted:
            return None
        before = Before.of(view, self._detector)
        tried = gains_of(wanted, lambda way: self._expected(before, kept_ground(view, way.apply(view, 1.0)), way))
        best, gain = max(tried, key=itemgetter(1))
        if gain <= least:
            return None
        repaired = kept_ground(image, best.apply(image, max(1.0, max(image.shape[:2]) / max(view.shape[:2]))))
        if view is not image:  # what was looked at is smaller than what is delivered
            gain = self._expected(before, repaired, best)
        return Mended(repaired, best.name, gain) if gain > least else None

    def _expected(self, before: Before, after: Image, way: Repair) -> float:
        """The gain of a repair, dB."""
        assert self._gain is not None and self._detector is not None
        return float(self._gain.predict(evidence(before, after, way.name, self._detector)[None])[0])

    def enhance(self, image: Image) -> Image:
        """The image enhanced at its own size, uint8 H x W x 3 RGB; a plain white ground stays as it is.

        The network's memory is bounded by one tile. Raises NotAnImageArray.
        """
        check_image(image)
        return keep_white_ground(image, self._enhancing.enhanced(image, self._enhancing.codes(image)))

    def _text(self, texts: Sequence[str | None] | None, count: int) -> tuple[Floats | None, Floats | None]:
        if texts is None or not self.bundle.text_seen or not any(texts):
            return None, None
        if len(texts) != count:
            raise NotAnImageArray(f"{count} images came with {len(texts)} texts; give one text, or None, for each")
        if self._encoder is None:
            self._encoder = build_text_encoder(self.bundle.architecture.text_encoder)
        mask = np.array([[1.0 if text else 0.0] for text in texts], dtype=np.float32)
        return self._encoder([text or "" for text in texts]) * mask, mask

    def _faults(self, stats: Floats) -> list[tuple[Found, ...]] | list[None]:
        if self._detector is None:
            return [None] * len(stats)
        return self._detector.find(stats[:, -SIGNAL_SIZE:])

    def _judgement(
        self,
        arrays: dict[str, npt.NDArray[np.float32]],
        place: int,
        taught: bool,
        faults: tuple[Found, ...] | None,
    ) -> Judgement:
        styles = self.bundle.architecture.styles
        best = int(arrays["confidence"][place].argmax())
        attributes = arrays["attributes"][place]
        known = self.bundle.calibration.interval_rows > 0
        return Judgement(
            quality=float(arrays["quality"][place]),
            quality_low=float(arrays["low"][place]) if known else 0.0,
            quality_high=float(arrays["high"][place]) if known else 1.0,
            sharpness=float(attributes[0]),
            colour_balance=float(attributes[1]),
            detail=float(attributes[2]),
            style=styles[best] if styles else None,
            style_confidence=float(arrays["confidence"][place, best]) if styles else 0.0,
            style_vector=arrays["style"][place].copy(),
            embedding=arrays["embedding"][place].copy(),
            style_taught=taught,
            faults=faults,
        )


def _read_blind(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    import pyarrow.parquet as pq

    columns = pq.read_table(path).to_pydict()
    return {
        str(key): int(fold)
        for name in ("image_id", "group")
        for key, fold in zip(columns[name], columns["fold"], strict=True)
    }


def check_image(image: Any) -> None:
    """Raise NotAnImageArray unless `image` is uint8, H x W x 3, with at least one pixel."""
    found = (getattr(image, "dtype", type(image).__name__), getattr(image, "shape", ()))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise NotAnImageArray(f"expected an RGB image, uint8 H x W x 3, found {found[0]} {found[1]}")
    if image.size == 0:
        raise NotAnImageArray(f"expected an image with pixels, found shape {image.shape}")
