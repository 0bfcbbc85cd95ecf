"""Exhausted file descriptors: a fault of this process' limit, and not of the other end of a connection."""

NO_DESCRIPTOR = (
    "no file descriptor is left for a connection; raise the limit of open files (LimitNOFILE= of systemd, ulimit -n), "
    "or lower GATEWAY_MAX_REQUESTS"
)


def lacks_descriptor(error: BaseException) -> bool:
    """Return whether a connection failed because no descriptor was left (EMFILE, ENFILE).

    This reads the text: asyncio joins the errors of several addresses to one, and redis-py makes one of its own.
    """
    return "too many open files" in str(error).lower()
