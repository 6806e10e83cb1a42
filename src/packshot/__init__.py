"""Packshot keeps a shop's picture catalogue good: it judges, enhances and routes product images,
and keeps the model that does so retrained, tested and promoted.

    import packshot

    judge = packshot.load()
    verdict = judge("photo.jpg")
    verdict.ok, verdict.reasons, verdict.enhanced
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_PYTHON = ("load", "PictureJudge", "Judged")


def __getattr__(name: str) -> Any:
    if name in _PYTHON:  # read when it is asked for: the command line starts without
        return getattr(importlib.import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PYTHON])
