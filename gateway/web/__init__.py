"""Speaks Litestar and ASGI. Translates; decides nothing."""
