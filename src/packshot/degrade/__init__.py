"""Controlled degradations of an image by family and level, and full-reference scores of the result."""
