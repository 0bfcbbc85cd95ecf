"""What writes the formats of formats.py: a function for each, from what a variant has to pieces of bytes."""
