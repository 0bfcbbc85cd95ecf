"""The first process of a container (PID 1), which has duties that no other process has.

It becomes the parent of processes whose own parents have ended, and must reap them: otherwise they fill the table of
processes as zombies. And the kernel gives it no signal without a handler. So it does nothing else, and the gateway runs
in a child.
"""

import os
import signal

PASSED_ON = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR2,
)
"""Signals that are passed on to the gateway."""


def leave_first_process() -> None:
    """Return in a child if this is the first process, which then ends as the child does; otherwise return at once."""
    if os.getpid() == 1:
        fork_under_reaper()


def fork_under_reaper() -> None:
    """Return in a child. The parent passes signals on and reaps until the child has ended, and exits as it did."""
    awaited = {*PASSED_ON, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)  # from now on they wait, and none is lost
    child = os.fork()
    if child:
        os._exit(_reap_until_end_of(child, awaited))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
    os.setsid()  # Ctrl+C of a terminal comes once, from the parent
    if os.environ.get("LISTEN_PID") == str(os.getppid()):
        os.environ["LISTEN_PID"] = str(os.getpid())


def _reap_until_end_of(child: int, awaited: set[signal.Signals]) -> int:
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                return code if code >= 0 else 128 - code
