"""The logged model, as code: what `mlflow.pyfunc.load_model` runs in a process that knows nothing of Packshot.

Input: a DataFrame with `image` (the bytes of a file) and, where there is one, `text`. Output: one row for each input
row, in order, with the columns of OUTPUTS in `packshot.registry.signature`. An image that cannot be read is a row with
an `error` and no scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from packshot.bundle import Judge, Judgement
from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import BadImage, ImageLimits, Pixels
from packshot.registry.signature import OUTPUTS, SCORES

BATCH = 16
"""Images a call of the judge gets at most."""
PIXELS_TOGETHER = 16_000_000
"""And of no more pixels, unless it is one image."""


class PackshotModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A bundle behind MLflow's interface; `model_config["limits"]` holds the image limits in force at registration."""

    def load_context(self, context: Any) -> None:
        """Load the bundle from the artefacts; weights are safetensors, nothing is unpickled."""
        limits = dict(context.model_config["limits"])
        self._limits = ImageLimits(**{**limits, "formats": tuple(limits["formats"])})
        self._judge = Judge.load(Path(context.artifacts["bundle"]), device="auto")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Judge every row; at most BATCH images of PIXELS_TOGETHER and one more are held at a time."""
        images = list(model_input["image"])
        texts = list(model_input["text"]) if "text" in model_input.columns else [None] * len(images)
        rows: list[dict[str, Any]] = []
        while len(rows) < len(images):
            decoded = self._next(images[len(rows) : len(rows) + BATCH])
            rows.extend(self._judged(decoded, texts[len(rows) :]))
        # As objects first: pandas would turn the null of a text column into NaN.
        answer = pd.DataFrame(rows, columns=list(OUTPUTS), index=model_input.index, dtype=object)
        return answer.astype(dict.fromkeys((*SCORES, "style_confidence"), "float64"))

    def _next(self, images: Sequence[Any]) -> list[Pixels | str]:
        """The first of the images, decoded, as many as may be held."""
        decoded: list[Pixels | str] = []
        pixels = 0
        for image in images:
            decoded.append(found := self._decode(image))
            pixels += 0 if isinstance(found, str) else found.shape[0] * found.shape[1]
            if pixels >= PIXELS_TOGETHER:
                break
        return decoded

    def _judged(self, decoded: Sequence[Pixels | str], texts: Sequence[Any]) -> list[dict[str, Any]]:
        good = {i: image for i, image in enumerate(decoded) if not isinstance(image, str)}
        said = [texts[i] if isinstance(texts[i], str) and texts[i] else None for i in good]
        verdicts = dict(zip(good, self._judge.judge(list(good.values()), said), strict=True))
        return [_row(verdicts.get(i), image if isinstance(image, str) else None) for i, image in enumerate(decoded)]

    def _decode(self, content: Any) -> Pixels | str:
        if not isinstance(content, (bytes, bytearray)):
            return f"not_an_image: expected the bytes of an image file, found {type(content).__name__}"
        try:
            return decode(bytes(content), self._limits)
        except BadImage as error:
            return f"{error.reason}: {error.detail}"


def _row(judgement: Judgement | None, error: str | None) -> dict[str, Any]:
    if judgement is None:
        return {**dict.fromkeys(OUTPUTS), "error": error}
    scores = {name: float(getattr(judgement, name)) for name in SCORES}
    told = judgement.style if judgement.style_taught else None
    confidence = float(judgement.style_confidence) if told is not None else 0.0
    return {**scores, "style": told, "style_confidence": confidence, "error": None}


mlflow.models.set_model(PackshotModel())
