"""Faults of a picture: too dark or light, flat, tinted, noisy, blurred, compressed. What each is called, how it is
found in the signal statistics, and how often clean pictures are taken for faulty. Needs no torch."""

from packshot.faults.detector import Detector, Found
from packshot.faults.kinds import KINDS, NAMES, Kind

__all__ = ["KINDS", "NAMES", "Detector", "Found", "Kind"]
