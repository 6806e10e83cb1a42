"""What work uses is counted whole: its own, and that of processes that have ended by then."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from packshot import cost
from packshot.config import CostSettings
from packshot.cost import REPORT_TO, Usage, as_record, metered, price

RATES = CostSettings(currency="EUR", cpu_core_hour=0.10, gpu_hour=2.0, memory_gib_hour=0.01)
BURN = """
import time
held = bytearray(200_000_000)
while time.process_time() < 1.0:
    pass
"""
ON_A_DEVICE = """
import sys, time, types
cuda = types.SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 2, memory_reserved=lambda d: 1 - d)
sys.modules["torch.cuda"] = cuda
from packshot.cost import metered
with metered():
    time.sleep(0.5)
"""


def test_a_child_that_has_ended_is_counted(monkeypatch):
    monkeypatch.setattr(cost, "EVERY_S", 0.05)
    with metered() as meter:
        subprocess.run([sys.executable, "-c", BURN], check=True)
        used = meter.so_far()
    assert used.cpu_s >= 0.95 and used.wall_s >= 0.95
    assert used.peak_mb > 200
    assert used.gpu_s == 0
    with metered() as meter:
        assert meter.so_far().cpu_s < 0.5, "what was used before is not counted"


def test_gpu_seconds_come_up_from_the_process_that_used_the_device():
    with metered() as meter:
        subprocess.run([sys.executable, "-c", ON_A_DEVICE], check=True)
        used = meter.so_far()
    assert 0.5 <= used.gpu_s < 1.5, "one of two devices held memory, for half a second"
    assert REPORT_TO not in os.environ


def test_a_price_is_seconds_at_hourly_rates():
    used = Usage(wall_s=1800, cpu_s=7200, gpu_s=900, peak_mb=2 * 2**30 / 1e6)
    assert price(used, RATES) == pytest.approx(2 * 0.10 + 0.25 * 2.0 + 0.5 * 2 * 0.01)
    assert as_record(used, RATES)["price"] == pytest.approx(0.71)
    both = used + Usage(peak_mb=1.0, cpu_s=1)
    assert (both.cpu_s, both.peak_mb) == (7201, used.peak_mb)
