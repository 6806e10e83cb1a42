"""The desk: a page on which people send pictures and see what is wrong with them, and what was repaired."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(nonce: str) -> str:
    """The page; `nonce` is that of its content security policy."""
    loader = PackageLoader("packshot.service")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("desk.html").render(nonce=nonce)
