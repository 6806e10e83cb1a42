"""Decoding where it can do no harm: in worker processes, with a deadline and a memory bound for each picture.

The functions of `packshot.catalog.image` that open files are called through `isolated` and nowhere else: reading a
header is decoding too, and a decoder that dies, hangs or swallows memory then costs its own picture.
"""
