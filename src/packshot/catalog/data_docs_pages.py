"""Great Expectations' HTML made fit to be opened anywhere: offline, and without calling home.

The pages it renders take style, scripts and a logo from nine other sites, and show nothing useful without
them. Here every page gets a style sheet of its own; scripts and outside references go, and a content security
policy forbids what a hostile value in the data may try to bring in.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

_POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
_DROPPED = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"<script\b.*?</script\s*>",
        r"<style\b.*?</style\s*>",
        r"<footer\b.*?</footer\s*>",
        r"<link\b[^>]*>",
        r"<img\b[^>]*>",
        r"<title>\s*</title>",
    )
)


def finish_pages(folder: Path, title: str, at: str, pages: Sequence[dict[str, Any]]) -> None:
    """Make every page below `folder` self-contained and write its `index.html`.

    `pages` lists `table`, `rows`, `outcomes` and `address` (relative to `folder`) for the index.
    """
    style = files("packshot.catalog").joinpath("data_docs.css").read_text(encoding="utf-8")
    for page in sorted(folder.rglob("*.html")):
        page.write_text(_self_contained(page.read_text(encoding="utf-8"), style), encoding="utf-8")
    shutil.rmtree(folder / "static", ignore_errors=True)
    template = files("packshot.catalog").joinpath("data_docs_index.html.j2").read_text(encoding="utf-8")
    index = Environment(autoescape=True).from_string(template).render(title=title, at=at, pages=pages)
    (folder / "index.html").write_text(_self_contained(index, style), encoding="utf-8")


def _self_contained(html: str, style: str) -> str:
    for dropped in _DROPPED:
        html = dropped.sub("", html)
    return html.replace("</head>", f"{_POLICY}<style>{style}</style></head>", 1)
