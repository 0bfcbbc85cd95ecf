"""Why a request is not answered by its backend. core/problems.py alone turns a reason into a status."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a request was not passed on, in the words of logs, metrics and documentation."""

    MALFORMED_TARGET = "malformed_target"
    TARGET_TOO_LONG = "target_too_long"
    NO_MATCHING_RULE = "no_matching_rule"
    MISSING_CREDENTIALS = "missing_credentials"
    MALFORMED_CREDENTIALS = "malformed_credentials"
    AMBIGUOUS_CREDENTIALS = "ambiguous_credentials"
    TOO_MANY_FAILURES = "too_many_failures"
    UNKNOWN_TOKEN = "unknown_token"
    REVOKED_TOKEN = "revoked_token"
    DISABLED_TOKEN = "disabled_token"
    NOT_YET_VALID_TOKEN = "not_yet_valid_token"
    EXPIRED_TOKEN = "expired_token"
    OTHER_PROJECT = "other_project"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    INSUFFICIENT_PLAN = "insufficient_plan"
    INVALID_OPTION = "invalid_option"
    QUOTA_EXCEEDED = "quota_exceeded"
    STORE_UNAVAILABLE = "store_unavailable"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_BROKEN = "upstream_broken"
    BROKEN_DOCUMENT = "broken_document"
    INTERNAL_ERROR = "internal_error"
