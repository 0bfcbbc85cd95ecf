"""Which keys a test looks at."""

ALL_BUT_MARKER = "gw1:[^m]*"
"""A pattern of all that the gateway keeps, but for the marker of a store that holds tokens."""
