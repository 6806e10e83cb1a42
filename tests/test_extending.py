"""What docs/extending.md shows works as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from packshot.config import RuleBound, load_settings
from packshot.home import project_root
from packshot.scoring.rules import RULES, Picture, findings, measure
from packshot.scoring.rules.findings import profile_in_force

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def shown(heading: str, language: str) -> str:
    """The first block of a language below a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, f"no {language} below {heading}"
    return found[1]


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The rule of the page, from a module outside the package; gone after the test."""
    before = dict(RULES)
    (tmp_path / "a_shops_rule.py").write_text(shown("A catalogue rule", "python"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("a_shops_rule")
    yield next(iter(RULES.keys() - before.keys()))
    sys.modules.pop("a_shops_rule")
    RULES.clear()
    RULES.update(before)


def test_a_rule_is_one_module_and_a_line_of_a_profile(rule: str) -> None:
    line = yaml.safe_load(shown("A catalogue rule", "yaml"))
    assert set(line) == {rule}
    scoring = load_settings(project_root() / "params.yaml").scoring
    own = {rule: RuleBound.model_validate(line[rule])}
    profile = profile_in_force(scoring.model_copy(update={"profiles": {scoring.profile: own}}))

    def broken(width: int, height: int) -> list[str]:
        asked = Picture(np.zeros((height, width, 3), np.uint8))
        return [finding.reason for finding in findings(measure(asked, profile), profile, asked)]

    assert broken(300, 200) == []
    assert broken(400, 200) == [f"{rule}: 2 is above 1.5"]
