"""Which model answers: the one named, or whatever the ledger makes champion, from then on."""

from __future__ import annotations

import threading

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.progress import say
from packshot.registry.alias_check import CHAMPION, promoted
from packshot.registry.ledger import Ledger
from packshot.scoring.scorer import open_scorer
from packshot.service.engine import Engine


class Following:
    """Loads the model into an engine, and another one when the ledger says so; `every_s` seconds between questions."""

    def __init__(self, settings: Settings, model: str, engine: Engine, every_s: float) -> None:
        self._settings, self._model, self._engine, self._every = settings, model, engine, every_s
        self._seen: object = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="champion", daemon=True)

    def start(self) -> None:
        """Load, and look on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(timeout=60)

    def look(self) -> None:
        """Once: load what should answer where that is another model than before, or refuse where none may."""
        try:
            now = self._state()
            if now != self._seen or self._engine.why_not is not None:
                scorer = open_scorer(self._settings, self._model)
                self._engine.use(scorer)
                self._seen = now
                say(f"service: {scorer.lineage.label()} answers")
        except Exception as error:  # whatever it is, the next look may find it mended
            why = str(error) if isinstance(error, PackshotError) else f"{type(error).__name__}: {error}"
            if self._engine.why_not != why:
                say(f"service: nothing is judged: {why}")
            self._engine.refuse(why)

    def _state(self) -> object:
        """What changes when another model, or another scale, is to answer."""
        if self._model != CHAMPION:
            return self._model
        ledger = Ledger.from_environment()
        champion = promoted(self._settings, ledger)
        return champion, len(ledger.history(self._settings.registry.model_name, "shop_scale"))

    def _run(self) -> None:
        self.look()
        while not self._ended.wait(self._every):
            self.look()
