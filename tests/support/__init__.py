"""Real servers and clients for the tests, started on free ports and ended with them."""
