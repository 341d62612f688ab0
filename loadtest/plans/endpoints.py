"""The running servers of a plan, which starts those that do not run yet."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.plans.progress import say
from loadtest.plans.targets import Target
from loadtest.report_schema import Report, Result, ServerProcess
from loadtest.servers import description, local
from loadtest.servers.description import Served
from loadtest.servers.local import LocalServer, Usage
from loadtest.settings.config import ConnectionConfig


@dataclass(frozen=True)
class Endpoint:
    """A running server.

    Attributes:
        target: Entry of the server in the plan.
        address: `host:port`.
        says: Models and versions on the server's metrics page.
        server: Process of the server; None if it was running before.
    """

    target: Target
    address: str
    says: Served
    server: LocalServer | None

    def usage(self) -> Usage | None:
        """Return CPU time and memory of the server so far; None if it was running before."""
        return None if self.server is None else self.server.usage()

    def process_section(
        self, before: Usage | None, *, requests: int, provider: str | None
    ) -> ServerProcess | None:
        """Return the report's section on the server process; None if it was running before.

        Args:
            before: `usage` before the requests.
            requests: Number of requests since then.
            provider: Execution provider of the model.
        """
        if self.server is None or before is None:
            return None
        return self.server.section(before, requests=requests, provider=provider)

    def result(self, report: Report, folder: Path, process: ServerProcess | None) -> Result:
        """Return the result of a run.

        Args:
            report: Report of the run.
            folder: Folder of the run, relative to that of the plan's report.
            process: The section on the server process; None if it was running before.
        """
        return Result(
            target=self.target.name,
            folder=str(folder),
            report=report,
            server_versions=self.says.versions,
            server_process=process,
        )


@contextlib.contextmanager
def opened(
    target: Target,
    *,
    connection: ConnectionConfig,
    models_dir: Path,
    log: Path,
    further_flags: Sequence[str] = (),
    note: str = "",
) -> Iterator[Endpoint]:
    """Yield a target's server; one without an address is started now, and stopped afterwards.

    Args:
        target: The target.
        connection: The connection to a server that was running before.
        models_dir: Models of a server that is started.
        log: File for its log.
        further_flags: Its flags besides those of the target.
        note: Text after the target's name in the line that announces its start.

    Raises:
        UsageError: The server does not start, or see `ConnectionConfig.ssl_context`.
    """
    if target.address is not None:
        yield Endpoint(target, target.address, description.ask(target.address, connection), None)
        return
    say(f"starting a server: {target.name}{note}")
    with local.started(models_dir, [*target.serve, *further_flags], log) as server:
        yield Endpoint(target, server.address, description.ask(server.address), server)
