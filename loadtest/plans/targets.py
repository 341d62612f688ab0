"""The servers that the file of a plan names."""

import argparse
from dataclasses import dataclass

from loadtest.plans.tables import Table
from loadtest.settings.arguments import target_address
from loadtest.settings.config import UsageError

# The precision of a server that chooses it itself.
AUTO = "auto"


@dataclass(frozen=True)
class Target:
    """A server, or several servers that differ only in precision.

    Attributes:
        name: Name of the target in the report.
        address: `host:port` of a running server; None to start one with `serve`.
        serve: Flags of `python -m serving`; empty with `address`.
        precisions: Precisions to serve, or AUTO for the server's default; only AUTO with
            `address`.
    """

    name: str
    address: str | None
    serve: tuple[str, ...]
    precisions: tuple[str, ...]


def running_target(address: str) -> Target:
    """Return the target for a server that runs already, at `host:port`."""
    return Target(address, address, (), (AUTO,))


def read_target(table: Table) -> Target:
    """Return the target that a table describes.

    Raises:
        UsageError: A key or value is wrong.
    """
    address, serve = table.take("address", str), table.take("serve", list)
    if (address is None) == (serve is None):
        msg = f"{table.where} needs either address or serve"
        raise UsageError(msg)
    if serve is not None and not all(isinstance(flag, str) for flag in serve):
        msg = f"serve of {table.where} is {serve!r}, expected a list of flags"
        raise UsageError(msg)
    precisions = table.words("precisions") or (AUTO,)
    if address is not None:
        if precisions != (AUTO,):
            msg = (
                f"precisions of {table.where} cannot be chosen, because the server at {address} "
                "is already running; remove precisions, or use serve instead of address"
            )
            raise UsageError(msg)
        try:
            target_address(address)
        except argparse.ArgumentTypeError as error:
            raise UsageError(str(error)) from error
    name = table.take("name", str) or address or table.where
    table.end()
    return Target(name, address, tuple(serve or ()), precisions)
