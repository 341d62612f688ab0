"""Start the model server: `python -m serving --models_dir models --port 8500`."""

import asyncio
import logging
import os
import signal
import sys

import uvloop

from serving import request_log
from serving.config import ServerConfig
from serving.errors import ConfigError
from serving.flags import parse_config
from serving.runtime import DeviceError
from serving.server import ModelServer

logger = logging.getLogger(__name__)


async def serve(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Raises:
        ConfigError, DeviceError: the server cannot start with these settings.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(received: signal.Signals) -> None:
        logger.info("%s: finishing the calls in flight; again to quit at once", received.name)
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not the default handlers: process 1 of a container has none.
            loop.add_signal_handler(number, os._exit, 128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    server = ModelServer(config)
    try:
        await server.start()
        await stopping.wait()
    finally:
        await server.stop()
    logger.info("stopped")


def main() -> None:
    """Read the settings and serve; settings that do not work end in one line and exit code 2."""
    try:
        config = parse_config(sys.argv[1:])
        request_log.configure(config.log_format)
        uvloop.run(serve(config))
    except (ConfigError, DeviceError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
