"""Held-out metrics by source and subset, resampling, plots."""
