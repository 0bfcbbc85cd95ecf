"""`gateway owner`: put together in group.py."""
