"""Everything above a network's features, in numpy: what it says of pictures whose statistics are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from packshot.inference.features import Features
from packshot.inference.tones import Codes, Tones
from packshot.inference.weights import Floats, Source, Weights, WeightsUnreadable, part
from packshot.model.architecture import CLIP, ENHANCER_DIM, SOFT_EDGE, Architecture

_ERF = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True)
class Perception:
    """Heads of N images: `quality`, `expected_error` N (0..1), `attributes` N x 3 (0..1), `logits` N x styles, `style`
    N x style_dim (unit vectors), `embedding` N x at most 64."""

    quality: Floats
    expected_error: Floats
    attributes: Floats
    logits: Floats
    style: Floats
    embedding: Floats


class Heads:
    """The trunks and all heads of a network, as `packshot.model.network` has them. Raises WeightsUnreadable where an
    array is missing."""

    def __init__(self, source: Source) -> None:
        self.architecture: Architecture = source.architecture
        weights = source.weights
        try:
            self._trunk, self._damage = (_Trunk(part(weights, name)) for name in ("trunk", "damage"))
            self._quality, self._attributes = (_Kernel(part(weights, name)) for name in ("quality", "attributes"))
            self._style = part(weights, "style_space")
            self._text = part(weights, "text.projection")
            self._classifier = part(weights, "classifier")
            self._enhancer = part(weights, "enhancer")
            self._embedding, self._kinds, self._kind_error = (
                weights[name] for name in ("embedding", "kind_of_image", "kind_error")
            )
            self._embedding, self._reduction = (
                np.ascontiguousarray(each) for each in (self._embedding, self._style["reduction.weight"])
            )
            self._try(len(weights["trunk.mean"]), len(self._style["centre"]))
        except KeyError as error:
            raise WeightsUnreadable(f"the weights lack {error}: they are of another network, or cut short") from error
        except (ValueError, IndexError) as error:
            raise WeightsUnreadable(f"the weights are of another network: {error}") from error

    def _try(self, stats: int, gram: int) -> None:
        """Ask once, so that arrays which do not fit are found here."""
        nothing = Features(np.zeros((1, stats), dtype=np.float32), np.zeros((1, gram), dtype=np.float32))
        self.perceive(nothing)
        self.tones(self.codes(nothing.stats))

    def perceive(
        self,
        features: Features,
        text: Floats | None = None,
        mask: Floats | None = None,
        heads: Sequence[int] | None = None,
    ) -> Perception:
        """Of N images; `text` N x text size with `mask` N x 1, where shops say something of them. `heads` names one
        quality head an image, the mean of all where that is negative or not given."""
        standard = self._trunk.standardise(features.stats)
        z = self._trunk.project(standard)
        style = self._style_vectors(features.gram)
        return Perception(
            quality=soft_unit(self._overall(z, heads)),
            expected_error=self._expected_error(z),
            attributes=soft_unit(self._attributes(self._damage(features.stats))),
            logits=self._logits(np.concatenate([style, z], axis=1), self._told(text, mask, len(z))),
            style=style,
            embedding=standard @ self._embedding,
        )

    def codes(self, stats: Floats) -> Codes:
        """Coefficients of curves, tables and modulation for one image, statistics 1 x S."""
        a, layers = self.architecture, part(self._enhancer, "codes_layer")
        raw = self._damage.scaled(self._damage(stats))[:, :ENHANCER_DIM]
        raw = _gelu(_linear(layers, "1", raw))
        raw = _linear(layers, "7", _gelu(_linear(layers, "4", raw)))[0]
        knots = 3 * (a.curve_points + 1)
        trust = self._enhancer["tone_trust"]
        curves = np.tanh(raw[:knots]).reshape(3, a.curve_points + 1)
        modulation = np.tanh(raw[knots + a.lut_count :]).reshape(1, a.residual_blocks, 2, a.residual_width)
        return Codes(trust * curves, trust * raw[knots : knots + a.lut_count], modulation)

    def tones(self, codes: Codes) -> Tones:
        """The curves and the table that `codes` mix."""
        return Tones(codes.curves, np.tensordot(codes.mixture, self._enhancer["luts"], axes=1))

    def _overall(self, z: Floats, heads: Sequence[int] | None) -> Floats:
        each = self._quality(z)
        mean: Floats = each.mean(axis=1)
        if heads is None:
            return mean
        chosen = np.asarray(heads, dtype=np.int64)
        one = np.take_along_axis(each, np.maximum(chosen, 0)[:, None], axis=1)[:, 0]
        return np.where(chosen < 0, mean, one)

    def _expected_error(self, z: Floats) -> Floats:
        kinds = softmax(self._trunk.scaled(z) @ self._kinds[:, :-1].T + self._kinds[:, -1])
        expected: Floats = kinds @ self._kind_error
        return expected

    def _style_vectors(self, gram: Floats) -> Floats:
        standard = np.clip((gram - self._style["centre"]) * self._style["scale"], -5, 5)
        vectors = standard @ self._reduction.T
        length = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
        result: Floats = vectors / np.maximum(length, np.float32(1e-6))
        return result

    def _told(self, text: Floats | None, mask: Floats | None, count: int) -> Floats:
        if text is None or mask is None:
            return np.zeros((count, self.architecture.text_dim), dtype=np.float32)
        told: Floats = np.tanh(text @ self._text["weight"].T + self._text["bias"]) * mask
        return told

    def _logits(self, content: Floats, told: Floats) -> Floats:
        known = self._classifier
        scaled = (content - known["shift"]) * known["scale"]
        logits: Floats = _linear(known, "linear", scaled) + told @ known["text.weight"].T
        if "mlp.1.weight" in known:
            logits = logits + _linear(known, "mlp.3", _gelu(_linear(known, "mlp.1", np.hstack([scaled, told]))))
        return logits


class _Trunk:
    def __init__(self, weights: Weights) -> None:
        self._mean, self._scale, self._spread = (weights[name] for name in ("mean", "scale", "spread"))
        self._matrix = np.ascontiguousarray(weights["linear.weight"] / weights["unit"])

    def __call__(self, stats: Floats) -> Floats:
        return self.project(self.standardise(stats))

    def standardise(self, stats: Floats) -> Floats:
        standard: Floats = np.clip((stats - self._mean) * self._scale, -CLIP, CLIP)
        return standard

    def project(self, standard: Floats) -> Floats:
        z: Floats = standard @ self._matrix.T
        return z

    def scaled(self, z: Floats) -> Floats:
        scaled: Floats = np.clip(z * self._spread, -CLIP, CLIP)
        return scaled


class _Kernel:
    """In double precision: squared distances are small differences of large numbers, and in single precision a picture
    alone and among others would differ by 2e-5."""

    def __init__(self, weights: Weights) -> None:
        named = ("landmarks", "weights", "bias")
        self._landmarks, self._weights, self._bias = (weights[name].astype(np.float64) for name in named)
        self._gamma = np.exp(weights["log_gamma"].astype(np.float64))
        self._lengths = (self._landmarks**2).sum(axis=1)[None]

    def __call__(self, z: Floats) -> Floats:
        exact = z.astype(np.float64)
        squared = (exact**2).sum(axis=1)[:, None] + self._lengths - 2 * exact @ self._landmarks.T
        result: Floats = np.exp(-self._gamma * np.maximum(squared, 0)) @ self._weights + self._bias
        return result.astype(np.float32)


def soft_unit(score: Floats) -> Floats:
    """Strictly rising map of any real onto (0, 1): the identity between 0.05 and 0.95, exponential beyond."""
    edge = np.float32(SOFT_EDGE)
    low = edge * np.exp((np.minimum(score, edge) - edge) / edge)
    high = 1 - edge * np.exp((1 - edge - np.maximum(score, 1 - edge)) / edge)
    return np.where(score < edge, low, np.where(score > 1 - edge, high, score)).astype(np.float32)


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return result


def _linear(weights: Weights, name: str, values: Floats) -> Floats:
    result: Floats = values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return result


def _gelu(values: Floats) -> Floats:
    erf = np.asarray(_ERF(values.astype(np.float64) / math.sqrt(2)), dtype=np.float32)
    result: Floats = values * (1 + erf) * np.float32(0.5)
    return result
