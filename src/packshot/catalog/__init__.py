"""Where images come from and what they must be: sources, manifest, validation, near-duplicates, splits."""
