"""When gRPC sends a failed call once more: a retry policy as a gRPC service config.

The format is gRPC's (grpc/grpc-proto, service_config.proto; rules in gRFC A6). gRPC itself makes
the further attempts, all within the timeout of the call, and with a random deviation of up to a
fifth of each pause.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import grpc

# gRPC makes at most five attempts, whatever the service config says.
MAX_RETRIES = 4
# gRPC keeps the bytes of a call for another attempt only up to a limit, which is 256 KiB unless it
# is set: a batch of 100 pictures would not be sent again. A C int holds the value.
_BUFFER_BYTES = 2**31 - 1
_SERVICE_CONFIG = "grpc.service_config"


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Which failed calls gRPC sends again, how often, and after which pauses.

    Attributes:
        retries: Number of further attempts, 0 to 4; gRPC makes at most five attempts in all.
        codes: Status codes after which a call is sent again. Each must mean that the call did not
            run, or that it may run twice, as Predict and Classify may.
        first_pause_seconds: Pause before the second attempt.
        longest_pause_seconds: Longest pause.
        pause_factor: Each pause is this many times as long as the one before it.
    """

    retries: int = MAX_RETRIES
    codes: Collection[grpc.StatusCode] = (grpc.StatusCode.UNAVAILABLE,)
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 5.0
    pause_factor: float = 3.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: gRPC would refuse the policy, or silently use another one.
        """
        if not 0 <= self.retries <= MAX_RETRIES:
            msg = (
                f"retries are {self.retries}, expected 0 to {MAX_RETRIES}: gRPC makes at most "
                f"{MAX_RETRIES + 1} attempts; for a longer outage use wait_for_ready"
            )
            raise ValueError(msg)
        if not self.codes or grpc.StatusCode.OK in self.codes:
            names = ", ".join(code.name for code in self.codes) or "none"
            msg = f"codes to retry are {names}, expected one or more codes of errors"
            raise ValueError(msg)
        for name in ("first_pause_seconds", "longest_pause_seconds", "pause_factor"):
            if not 0 < getattr(self, name) < float("inf"):
                msg = f"{name} is {getattr(self, name)}, expected a number above 0"
                raise ValueError(msg)

    def service_config(self) -> str:
        """Return the service config, JSON text, for all methods of a channel."""
        policy = {
            "maxAttempts": self.retries + 1,
            "initialBackoff": f"{self.first_pause_seconds:f}s",
            "maxBackoff": f"{self.longest_pause_seconds:f}s",
            "backoffMultiplier": self.pause_factor,
            "retryableStatusCodes": sorted(code.name for code in self.codes),
        }
        # A name without a service stands for all services.
        return json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})


def channel_options(
    retries: int | RetryPolicy, others: Collection[tuple[str, Any]]
) -> list[tuple[str, Any]]:
    """Return the channel options that make gRPC retry; none for 0 retries.

    Args:
        retries: A policy, or the number of retries of the default policy.
        others: The other options of the channel.

    Raises:
        ValueError: see `RetryPolicy`, or the other options have a service config of their own.
    """
    policy = RetryPolicy(retries=retries) if isinstance(retries, int) else retries
    if policy.retries == 0:
        return []
    if any(name == _SERVICE_CONFIG for name, _ in others):
        msg = (
            f"retries and the channel option {_SERVICE_CONFIG} are both given, expected one of "
            "them; enter the retryPolicy in that service config, or leave the option out"
        )
        raise ValueError(msg)
    return [
        (_SERVICE_CONFIG, policy.service_config()),
        ("grpc.per_rpc_retry_buffer_size", _BUFFER_BYTES),
    ]
