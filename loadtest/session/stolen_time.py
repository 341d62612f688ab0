"""The processor time that a virtual machine does not get.

Linux calls it steal: a core has work, and the hypervisor runs another machine on the core below it.
A request that comes then waits for milliseconds, whatever server and load test do.
"""

import time

import psutil

# With so much stolen, one request in a hundred may meet a core that stands still: p99 shows it.
_MUCH = 0.01


class StolenTime:
    """Measures the stolen time from its creation on."""

    def __init__(self) -> None:
        """Begin to measure."""
        self._began = time.monotonic()
        self._stolen = _stolen_seconds()

    def share(self) -> float | None:
        """Return the share of the time of all cores of the machine, 0 to 1.

        Returns:
            None if the system does not tell, as outside of Linux.
        """
        stolen, seconds = _stolen_seconds(), time.monotonic() - self._began
        if stolen is None or self._stolen is None or seconds <= 0:
            return None
        share = (stolen - self._stolen) / (seconds * (psutil.cpu_count() or 1))
        return min(1.0, max(0.0, share))


def note(share: float | None) -> str | None:
    """Return the warning about a share of stolen time; None if there is nothing to warn of."""
    if share is None or share < _MUCH:
        return None
    return (
        f"the hypervisor took {100 * share:.1f} % of the cores' time during the run for other "
        "virtual machines, so tail latencies are unreliable"
    )


def _stolen_seconds() -> float | None:
    """Return the stolen time of all cores together since the start of the machine."""
    seconds: float | None = getattr(psutil.cpu_times(), "steal", None)
    return seconds
