"""Policies: one TOML file a product. document.py is the file's shape, reading.py finds its mistakes,
rules.py and compiling.py make what a request meets, matching.py finds the rule."""
