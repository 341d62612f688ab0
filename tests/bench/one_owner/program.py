"""The server of this benchmark, with the flags of `python -m serving`.

With `ONE_OWNER=1` in the environment, the workers of `--workers N` are protocol processes: they
answer the calls, and one more process owns the models. The supervisor is the server's own. Without
it, this is the server as it is, perhaps on the device of `device`.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.one_owner import device, front
from bench.one_owner.owner import Owner

from serving import program, server
from serving.engine.machine import collect_cycles_rarely, return_large_blocks
from serving.engine.managed_model import LoadServable
from serving.engine.servable import Servable
from serving.model_source import version_loader
from serving.monitoring import log
from serving.settings.flags import parse_config
from serving.workers.environment import VARIABLE
from serving.workers.supervisor import Supervisor

logger = logging.getLogger(__name__)

VARIABLE_OF_SPLIT, _PATH, _ROLE = "ONE_OWNER", "ONE_OWNER_SOCKET", "ONE_OWNER_ROLE"


class FrontSupervisor(Supervisor):
    """The supervisor, whose workers run this program."""

    program: ClassVar = (__file__,)


class OwnerSupervisor(FrontSupervisor):
    """The supervisor of protocol processes, beside which it keeps the owner running."""

    async def run(self) -> int:
        """See `Supervisor.run`; the owner ends last."""
        with tempfile.TemporaryDirectory() as folder:
            os.environ[_PATH] = str(Path(folder) / "owner")
            owning = asyncio.create_task(self._keep_owner())
            try:
                return await super().run()
            finally:
                owning.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await owning

    async def _keep_owner(self) -> None:
        while True:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.environ[_PATH])  # noqa: PTH108 - takes no time in the event loop
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *self.program, *self._arguments),
                env=os.environ | {_ROLE: "owner"},
                stdin=subprocess.PIPE,  # its end tells the owner that this process has ended
                start_new_session=True,
            )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                process.kill()  # the protocol processes have drained
                await process.wait()
                raise
            logger.error("the owner ended (exit code %d); starting it again", code)


def _own() -> None:
    """Run the owner until the supervisor ends."""
    config = parse_config(sys.argv[1:])
    log.configure(config.log_format)
    program._do_not_preempt()
    return_large_blocks()
    collect_cycles_rarely()
    loader = version_loader(
        config.runtime(), config.batching_of, warm_up=config.warm_up_iterations()
    )
    owner = Owner(os.environ[_PATH], loader)
    threading.Thread(target=owner.serve, name="owner", daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)


def _load_in_owner(*_settings: object, **_more: object) -> LoadServable:
    """Take the place of `version_loader` in a protocol process."""

    def load(
        name: str, version: int, path: Path, own: Mapping[str, int] = MappingProxyType({})
    ) -> Servable:
        return front.load(os.environ[_PATH], name, version, path, own)

    return load


def main() -> int:
    """Run the part of the server that this process is."""
    device.install()
    if os.environ.get(_ROLE) == "owner":
        _own()
    if _PATH in os.environ and VARIABLE in os.environ:
        server.version_loader = _load_in_owner
    split = os.environ.get(VARIABLE_OF_SPLIT) == "1"
    program.Supervisor = OwnerSupervisor if split else FrontSupervisor
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
