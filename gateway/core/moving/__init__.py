"""Tokens that move in from other systems, many at once, and out into backups."""
