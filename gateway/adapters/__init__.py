"""IO. One outside library per file, each behind a small Protocol of ports.py."""
