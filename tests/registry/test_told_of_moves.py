"""The commands that move the champion tell of it, and of what a kill kept an earlier one from telling."""

from __future__ import annotations

from skilled_models import Shop
from typer.testing import CliRunner

from packshot.cli import app
from packshot.registry.promote import promote


def test_a_rollback_tells_what_it_did_and_what_was_left_untold(shop: Shop) -> None:
    for skill in (0.85, 0.95):
        promote(shop.settings, challenger=shop.register(skill), workspace=shop.workspace)  # nobody is told: killed
    answer = CliRunner().invoke(app, ["registry", "rollback"])
    assert answer.exit_code == 0, answer.output
    told = [line for line in answer.stderr.splitlines() if line.startswith("notice: ")]
    assert told == [
        "notice: packshot: version 1 is the champion",
        "notice: packshot: version 2 is the champion",
        "notice: packshot: version 1 is the champion again",
    ]
    assert CliRunner().invoke(app, ["notices", "send"]).exit_code == 99
