"""Packshot keeps a shop's picture catalogue good: it judges, enhances and routes product images,
and keeps the model that does so retrained, tested and promoted."""

__version__ = "0.1.0"
