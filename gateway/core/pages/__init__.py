"""What the developer page decides: who sees what, which tokens a list shows, how times and addresses are written."""
