"""How many signal statistics there are, and at what scales: once, for the two ways in which they are computed."""

SIGNAL_SIZE = 140
OCTAVES = 4
COLOUR_OCTAVES = 2
NORMALISED_OCTAVES = 2
CELL = 4
"""Pixels: side of the cells whose contrasts are compared."""
GRIDS = (8, 16)
"""Pixels: block sizes of JPEG and WebP, for luminance and for halved colour."""
TONES = 11
STEP = 1 / 255
LUMA = (0.299, 0.587, 0.114)
