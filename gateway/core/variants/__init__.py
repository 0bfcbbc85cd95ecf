"""Shaped exports: the backend gives one canonical document, the gateway every variant that a build wants of it.

documents.py reads what the backend gave, translations.py and design_tokens.py are the two kinds of documents,
options.py says which variant a request asks for, formats.py is the table of renderers, rendering.py puts it all in
order."""
