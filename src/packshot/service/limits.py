"""How often a key may ask: a bucket that fills at a rate, and a question takes one out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

MOST_KEPT = 10_000
"""Of more keys, those that have not asked for long are forgotten, which changes nothing for them."""


@dataclass
class Limits:
    """`rate` questions a second for each key, `burst` at once after a pause. Several threads may ask."""

    rate: float
    burst: float
    clock: Callable[[], float] = monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, key: str) -> float:
        """0 where the key may ask now, which counts; else the seconds after which it may."""
        with self._lock:
            now = self.clock()
            left, at = self._left.get(key, (self.burst, now))
            left = min(self.burst, left + (now - at) * self.rate)
            allowed = left >= 1
            self._left[key] = (left - 1 if allowed else left, now)
            if len(self._left) > MOST_KEPT:
                full_s = self.burst / self.rate
                self._left = {name: (had, when) for name, (had, when) in self._left.items() if now - when < full_s}
            return 0.0 if allowed else (1 - left) / self.rate
