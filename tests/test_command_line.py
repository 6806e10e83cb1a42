"""What the command line tells people: its help by purpose, completion, and wrong names answered by the right ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from packshot.cli import app
from packshot.cli.purposes import OTHERS, PURPOSES, ByPurpose
from packshot.config import Settings, SettingsError, load_settings
from packshot.home import project_root


@pytest.fixture
def settings() -> Settings:
    return load_settings(project_root() / "params.yaml")


def names() -> Iterator[str]:
    for listed in PURPOSES.values():
        yield from listed.split()


def test_help_shows_commands_by_purpose_the_first_needed_first() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout
    places = [shown.index(purpose) for purpose in PURPOSES]
    assert places == sorted(places) and "─ Commands ─" not in shown
    first = [shown.index(f" {name} ") for name in ("look", "score", "report", "demo", "promote", "doctor")]
    assert first == sorted(first)


def test_every_name_of_a_purpose_is_a_command_once() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, ByPurpose)
    assert sorted(names()) == sorted(set(names())) and set(names()) <= set(group.commands)


def test_a_command_without_a_purpose_stands_last() -> None:
    other = typer.Typer(cls=ByPurpose)
    for name in ("abacus", "train", "score"):
        other.command(name)(lambda: None)
    group = typer.main.get_command(other)
    assert isinstance(group, ByPurpose)
    assert group.list_commands(typer.Context(group)) == ["score", "train", "abacus"]
    assert group.commands["abacus"].rich_help_panel == OTHERS  # type: ignore[attr-defined]


def test_the_shell_completes_commands() -> None:
    asked = {"_PACKSHOT_COMPLETE": "complete_bash", "COMP_WORDS": "packshot sco", "COMP_CWORD": "1"}
    program = "import sys; sys.argv = ['packshot']; from packshot.cli import app; app(prog_name='packshot')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["score"]


def test_a_wrong_profile_is_answered_by_the_right_ones(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.judged_by("amazon-main").scoring.profile == "amazon-main" and settings.judged_by(None) is settings
    with pytest.raises(SettingsError) as caught:
        settings.judged_by("amazon")
    assert str(caught.value).endswith("amazon-main, google-merchant, own") and "\n" not in str(caught.value)
    monkeypatch.setenv("PACKSHOT__SCORING__PROFILE", "amazon")
    with pytest.raises(SettingsError) as caught:
        load_settings(project_root() / "params.yaml")
    assert "'amazon'" in str(caught.value) and "amazon-main" in str(caught.value) and len(str(caught.value)) < 300


def test_a_wrong_value_is_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT__SCORING__MIN_GAIN", "7")
    with pytest.raises(SettingsError, match=r"scoring\.min_gain: .*\(found 7\)"):
        load_settings(project_root() / "params.yaml")
