"""What the bytes of a picture file say besides its pixels: true format, orientation, metadata, colours, damage.

Each module reads bytes that nobody vouches for, never raises for what is wrong with metadata, and decodes no more
than it has to.
"""
