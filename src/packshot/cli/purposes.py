"""The order of `packshot --help`: commands by what people want to do, what a newcomer needs first."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

PURPOSES = {
    "Judge pictures": "look score enhance serve keys people styles calibrate calibrate-shop",
    "Act on verdicts": "report export why similar index audit drift labels",
    "Train": (
        "demo champion starter overlays collect validate split features train evaluate thresholds compare ablate "
        "search adapt"
    ),
    "Operate the loop": "up down register promote registry retrain inbox data reconcile reap notices drill",
    "Inspect": "card doctor settings code-deps verdict-schema",
}
"""Purpose to the names of its commands."""
OTHERS = "More"
_PLACES = {name: (purpose, place) for purpose, names in PURPOSES.items() for place, name in enumerate(names.split())}


class ByPurpose(TyperGroup):
    """A group whose help has a panel for each of PURPOSES; a command that none names stands last."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, command in self.commands.items():
            command.rich_help_panel = _PLACES.get(name, (OTHERS, 0))[0]  # type: ignore[attr-defined]

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of PURPOSES."""
        order = [*PURPOSES, OTHERS]
        places = {name: _PLACES.get(name, (OTHERS, 0)) for name in self.commands}
        return sorted(self.commands, key=lambda name: (order.index(places[name][0]), places[name][1], name))
