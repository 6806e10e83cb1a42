"""Is this batch like the data the champion learned from? Two-sample tests and the alarm."""
