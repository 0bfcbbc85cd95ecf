"""Rules with a cache, and answers stored under them."""

from gateway.core.cache.model import Export, StoredHead, build_export
from gateway.core.cache.storing import find_objection, make_head
from gateway.core.http.messages import Field, RequestHead, ResponseHead
from gateway.core.policies.model import CacheRule, Rule
from tests.core.samples import NOW_MILLISECONDS as NOW
from tests.core.samples import admit, make_request, make_rule

FIXED = make_rule(CacheRule(fresh_seconds=60, shared_by="project", may_share=True))
"""Fresh for as long as the operator says."""
ASKING = make_rule(CacheRule(fresh_seconds=None, shared_by="project"))
"""Fresh for as long as the backend says, if it says that the answer may be shared."""
SHARED = make_rule(CacheRule(fresh_seconds=None, shared_by="project", may_share=True))
"""Fresh for as long as the backend says, and shared."""
UNCACHED = make_rule(None)
CONTENT = b'{"a": 1}'
BEARER = (b"authorization", b"Bearer shp_secret")


def make(
    *fields: Field, rule: Rule = FIXED, request: RequestHead | None = None, status: int = 200, now: int = NOW
) -> StoredHead:
    """The head of an answer with these fields."""
    return make_head(admit(rule), request or make_request(BEARER), ResponseHead(status, list(fields)), CONTENT, now)


def export(
    *fields: Field, rule: Rule = FIXED, request: RequestHead | None = None, status: int = 200, now: int = NOW
) -> Export:
    """What is stored of an answer with these fields."""
    return build_export(make(*fields, rule=rule, request=request, status=status, now=now))


def objection(*fields: Field, rule: Rule = FIXED, request: RequestHead | None = None, status: int = 200) -> str | None:
    """Why an answer with these fields is not stored."""
    return find_objection(rule, request or make_request(BEARER), ResponseHead(status, list(fields)), NOW)


def cc(value: bytes) -> Field:
    """A Cache-Control field."""
    return (b"cache-control", value)
