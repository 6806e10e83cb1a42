"""Which extra of the package brings a library that is not installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

from packshot.errors import PackshotError

DISTRIBUTIONS = {"airflow": "apache-airflow", "sklearn": "scikit-learn"}
"""Import names of which the distribution is called otherwise."""
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+).*?extra\s*==\s*[\"']([a-z0-9-]+)[\"']")


class ExtraMissing(PackshotError):
    """A command needs a library that judging does not, and that is not installed."""

    exit_code = 69


def explained(error: ModuleNotFoundError) -> ExtraMissing | None:
    """The error that a user can mend, where an extra brings the module that is missing; else None."""
    module = (error.name or "").partition(".")[0]
    extra = None if module == "packshot" else extra_of(module)
    if extra is None:
        return None
    return ExtraMissing(
        f"this needs {module}, which is not installed: pip install 'packshot[{extra}]'. Judging pictures, enhancing "
        "them and writing pages and exports of verdicts need no extra"
    )


def extra_of(module: str) -> str | None:
    """The first extra, in the order of pyproject.toml, that brings a module by its import name."""
    wanted = _normal(DISTRIBUTIONS.get(module, module))
    return next((extra for name, extra in _extras() if _normal(name) == wanted), None)


def _extras() -> list[tuple[str, str]]:
    """Name of a distribution and the extra that asks for it."""
    try:
        found = requires("packshot") or []
    except PackageNotFoundError:
        return []
    matches = (_REQUIREMENT.match(line) for line in found)
    return [(match.group(1), match.group(2)) for match in matches if match]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
