"""Batches of new images: verdicts, decisions, enhancement, shards."""
