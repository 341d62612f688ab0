"""Real-time priority of generator processes, so that a server on the same cores delays no request.

A process of normal priority that wakes up waits for a processor until the running one has used up
its time slice, about 3 ms. A process of SCHED_RR runs at once (sched(7)). Linux leaves 5 % of the
time to all others.
"""

import os
import threading

# The lowest real-time priority: above every normal process, below the kernel's own threads.
_PRIORITY = 1


def raise_priority() -> None:
    """Give this thread, and the threads that it starts later, real-time priority.

    Raises:
        OSError: The kernel refuses.
        AttributeError: The operating system has no such priority.
    """
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))


def refusal() -> str | None:
    """Return why this process may not give its children real-time priority; None if it may."""
    refused: list[str] = []

    def try_it() -> None:
        try:
            raise_priority()
        except (OSError, AttributeError) as error:
            refused.append(str(error))

    # The priority is a thread's own, so that of this process stays as it is.
    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return refused[0] if refused else None


def note() -> str | None:
    """Return the warning of a run that asked for the priority; None if it had it."""
    refused = refusal()
    if refused is None:
        return None
    return (
        f"--realtime: the load generator had normal priority ({refused}); run as root or with "
        "CAP_SYS_NICE"
    )
