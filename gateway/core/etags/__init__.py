"""Entity tags (RFC 9110 8.8.3): made from what content means, chosen between the backend's and ours, compared."""

from gateway.core.etags.ignoring import BY_VALUE, TagRule
from gateway.core.etags.tags import build_weak_tag, choose_tag, matches_weakly, weaken

__all__ = ["BY_VALUE", "TagRule", "build_weak_tag", "choose_tag", "matches_weakly", "weaken"]
