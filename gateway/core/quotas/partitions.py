"""Who a quota counts against."""

from gateway.core.http.client_address import client_network
from gateway.core.quotas.model import Partition
from gateway.core.tokens.records import TokenRecord


def holder_of(per: Partition, record: TokenRecord | None, address: str) -> str:
    """The one whose requests share a counter; `record` is None where a public rule counts addresses.

    A token without the owner or project that its policy binds tokens to, as of before the policy said so, shares one
    counter with all others that have none.
    """
    if per == "address":
        return client_network(address)
    if record is None:
        raise ValueError(f"a request without a token has no {per}")
    return {"token": record.lineage, "owner": record.owner, "project": record.project, "plan": record.plan}[per]
