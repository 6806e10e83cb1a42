"""One module for each kind of source; each gives the same table of labelled images, still where they lie.

`declared` reads `data/sources.yaml`, `table` is what every source returns, `collect` (one level up) copies it.
"""
