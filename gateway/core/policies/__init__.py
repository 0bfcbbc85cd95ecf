"""Policies: one TOML file for each product.

schema.py is the file's shape, reading.py finds its mistakes, compiler.py and the modules beside it compile it to
model.py, and matching.py finds the rule of a request.
"""
