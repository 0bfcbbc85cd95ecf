"""A shared cache (RFC 9111), decided without IO. Times are Unix milliseconds by Redis' clock.

keys.py says what is one entry, entries.py what is kept of it, storing.py what may be kept, freshness.py for how long,
reusing.py what it may answer, preconditions.py and answering.py how, revalidating.py what a 304 changes of it,
invalidating.py what ends it.
"""
