"""Content codings, one library in each file. `encoder.py` knows all and keeps large content off the event loop."""
