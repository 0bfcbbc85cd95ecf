"""Decides. No IO, no clock, no randomness, no environment, no await: tests/test_architecture.py keeps it so."""
