"""Loops: requests that come back to a gateway that has passed them on already: CDN-Loop (RFC 8586).

Rule: a request is in a loop if the same policy of the same gateway would pass it on again. Two gateways in series, and
a gateway with one policy whose backend is another policy's address, are no loop.

The mark is a digest of the policy's name and the random instance of one `gateway serve`, so two installations with the
same settings never refuse each other. A loop through a load balancer ends after one round of the nodes, or at once if
they share GATEWAY_INSTANCE. Proxies rewrite Via (RFC 8586 1), and counting hops would make several requests out of one.
"""

import functools
import hashlib

from gateway.core.http.fields import parse_list
from gateway.core.http.messages import Field, Fields, field_values

FIELD = b"cdn-loop"
"""Via says the same for people. Proxies on the way drop or rewrite it (RFC 8586 1), so it cannot detect loops."""


@functools.lru_cache(maxsize=256)
def build_mark(instance: str, policy: str) -> Field:
    """Build the mark of a request that this gateway passes on under the policy.

    `instance` is random and reveals nothing.
    """
    digest = hashlib.sha256(f"{instance}\n{policy}".encode()).hexdigest()
    return FIELD, b"gateway;id=" + digest[:16].encode()


def is_in_loop(fields: Fields, mark: Field) -> bool:
    """Return whether a request with these fields has the mark."""
    values = field_values(fields, FIELD)
    return bool(values) and mark[1] in [member.replace(b" ", b"") for member in parse_list(values)]
