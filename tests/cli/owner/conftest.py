"""Options that the tests of `gateway owner` share."""

from tests.cli.token.conftest import where

__all__ = ["where"]
