"""Decisions of the developer page: who sees what, which tokens a list shows, how times and addresses are written."""
