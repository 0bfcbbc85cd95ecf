"""Tokens where they should not be: how they are found, and how other scanners find them."""
