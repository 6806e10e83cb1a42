"""Verdicts at an address: the engine of the batch behind HTTP, with keys, limits and the ledger's champion."""
