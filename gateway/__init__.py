"""The token gateway: bearer tokens, scopes, quotas and cached exports in front of existing backends."""

__version__ = "0.1.0"
