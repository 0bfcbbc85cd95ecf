"""How property tests run here: never against the clock, and the same examples on every machine."""

from hypothesis import settings

settings.register_profile("gateway", deadline=None, derandomize=True)
settings.load_profile("gateway")
