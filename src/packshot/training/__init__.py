"""Cached features, the multi-task fit loop, checkpoints, cross-validation."""
