"""Content codings, one library a file. `encoder.py` knows them all and keeps large content off the event loop."""
