"""Does IO. One outside library per file, each behind a small Protocol of protocols.py."""
