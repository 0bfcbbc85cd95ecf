"""A shared cache (RFC 9111), decided without IO. Times are Unix milliseconds by Redis' clock.

keys.py says what is one entry, model.py what is kept of it, storing.py what may be stored, freshness.py for how long,
reuse.py what it may answer and how, invalidation.py what ends it.
"""
