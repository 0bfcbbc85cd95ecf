"""Commands for the documents of exports."""
