"""Run as a script in a process of its own: load a logged model and judge a few drawn pictures.

    python -P clean_process.py FOLDER

Imports nothing of Packshot before the model is loaded, so that the model has to bring its own code. Prints one JSON
line: `serving/latency_ms` (median of single pictures, first one left out), `serving/peak_rss_mb`, `columns`, and
where its code came from (`code`).
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time

SIDES = ((480, 640), (512, 512), (720, 540), (300, 800), (640, 480))


def drawn(height: int, width: int, seed: int) -> bytes:
    """A smooth gradient with a few shapes and a little noise, as PNG."""
    import cv2
    import numpy as np

    random = np.random.default_rng(seed)
    ramp = np.linspace(40, 220, width, dtype=np.float32)[None, :, None] * np.ones((height, 1, 3), np.float32)
    picture = np.clip(ramp + random.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)
    for _ in range(5):
        x, y, r = (int(v) for v in random.integers(20, min(height, width) // 2, 3))
        cv2.circle(picture, (x, y), r, [int(v) for v in random.integers(0, 255, 3)], -1, cv2.LINE_AA)
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def main(model_uri: str) -> dict[str, object]:
    """Load the logged model at `model_uri`, a folder or an address; judge, and report time and memory."""
    import mlflow
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_uri)
    seconds, columns = [], []
    for seed, (height, width) in enumerate((SIDES[0], *SIDES)):
        frame = pd.DataFrame({"image": [drawn(height, width, seed)], "text": ["a thing"]})
        begun = time.perf_counter()
        answer = model.predict(frame)
        seconds.append(time.perf_counter() - begun)
        columns = list(answer.columns)
        if answer["error"].notna().any() or not answer["quality"].between(0, 1).all():
            raise RuntimeError(f"the logged model does not judge a drawn picture: {answer.to_dict('records')}")
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return {
        "serving/latency_ms": statistics.median(seconds[1:]) * 1000,
        "serving/peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "columns": columns,
        "code": sys.modules["packshot"].__file__,
    }


if __name__ == "__main__":
    report = main(sys.argv[1])
    sys.stdout.write(json.dumps(report) + "\n")
