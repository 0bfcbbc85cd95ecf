"""Tokens and owners for those who administer them, by command line, REST API or pages."""

from gateway.management.management import Management

__all__ = ["Management"]
