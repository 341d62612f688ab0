"""The flow of a request: the requests of one client, which share its turns in the fair queues.

"Flow" is the term of fair queueing (RFC 970, Kubernetes' API Priority and Fairness). The front ends
set the flow of each call; the queues keep requests of different flows apart.
"""

from collections.abc import Hashable
from contextvars import ContextVar

# The flow of the current task's request; None for the server's own requests, such as warm-up, and
# for all clients of a Unix socket that send no key.
CURRENT: ContextVar[Hashable] = ContextVar("flow", default=None)
