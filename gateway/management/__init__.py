"""Tokens and owners for those who administer them, by whichever door: command line, REST API, pages."""

from gateway.management.management import Management

__all__ = ["Management"]
