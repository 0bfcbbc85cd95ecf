"""File descriptors that ran out: a fault of this process' limit, and not of whom it could not connect to."""

NO_DESCRIPTOR = (
    "no file descriptor is left for a connection; raise the limit of open files (LimitNOFILE= of systemd, ulimit -n), "
    "or lower GATEWAY_MAX_REQUESTS"
)


def lacks_descriptor(error: BaseException) -> bool:
    """Return whether a connection failed as no descriptor was left (EMFILE, ENFILE).

    The text says it: asyncio joins the errors of several addresses to one, and redis-py makes one of its own.
    """
    return "too many open files" in str(error).lower()
