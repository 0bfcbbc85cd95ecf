"""Shaped exports: the backend gives one canonical document, and the gateway makes every variant of it that builds want.

documents.py reads the document, translations.py and design_tokens.py are its two kinds, options.py says which variant a
request asks for, formats.py is the table of formats, and rendering.py orders all of it.
"""
