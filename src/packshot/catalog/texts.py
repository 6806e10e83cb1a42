"""What a shop says about a picture, as a model reads it."""

from __future__ import annotations

from typing import Any


def row_text(row: Any) -> str | None:
    """What the shop says about a picture: title, description and tags of a manifest row; None where it says nothing."""
    parts = [row[name] for name in ("title", "description", "tags")]
    said = [part.replace("|", ", ") for part in parts if isinstance(part, str) and part]
    return ". ".join(said) or None
