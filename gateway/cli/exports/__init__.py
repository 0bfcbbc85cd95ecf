"""Commands for what exports are made of."""
