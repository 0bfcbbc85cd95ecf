"""`gateway token`: one file per theme, put together in group.py. Texts of tokens are printed once, when minted."""
