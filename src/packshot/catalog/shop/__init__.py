"""What a shop hands over: a catalogue file, its columns, its rows, and the image files that these name.

`collect`, `score`, `audit`, `labels add` and the exports all read it here, by one set of rules.
"""
