"""Token exchange (RFC 8693): which ID tokens of CI providers a policy trusts, and what a job gets for one."""
