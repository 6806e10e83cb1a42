"""The identity of a bundle: one hash over its files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def bundle_digest(folder: Path) -> str:
    """sha256 (64 hex digits) over the names and bytes of every file below `folder`, in sorted order.

    Two bundles with the same digest give the same verdicts, whatever version or folder they came from.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix().encode()
        digest.update(len(name).to_bytes(4, "big") + name)
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
