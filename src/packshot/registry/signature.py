"""What the logged model takes and gives, in words that MLflow knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("quality", "quality_low", "quality_high", "sharpness", "colour_balance", "detail")
OUTPUTS = (*SCORES, "style", "style_confidence", "error")
TEXTS = ("style", "error")


def signature() -> Any:
    """An mlflow ModelSignature: `image` (bytes), optional `text`, to the columns of OUTPUTS."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs = Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "text", required=False)])
    outputs = Schema(
        [ColSpec(DataType.string if name in TEXTS else DataType.double, name, required=False) for name in OUTPUTS]
    )
    return ModelSignature(inputs=inputs, outputs=outputs)


def example(side: int = 160) -> pd.DataFrame:
    """One row: a drawn picture (a disc on white) as PNG bytes, and a text."""
    import cv2
    import numpy as np
    import pandas as pd

    picture = np.full((side, side, 3), 255, np.uint8)
    cv2.circle(picture, (side // 2, side // 2), side // 3, (60, 90, 200), -1, cv2.LINE_AA)
    encoded, content = cv2.imencode(".png", picture)
    if not encoded:
        raise RuntimeError("OpenCV cannot encode PNG on this machine")
    return pd.DataFrame({"image": [content.tobytes()], "text": ["blue ball"]})
