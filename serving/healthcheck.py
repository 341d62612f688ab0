"""Probe a server: `python -m serving.healthcheck [HOST:PORT]` exits 0 if it is SERVING, else 1.

For container health checks. It opens one connection, asks grpc.health.v1 and prints one line.
"""

import os
import sys

from serving.client import PredictClient, PredictError

TIMEOUT_SECONDS = 3.0


def main() -> None:
    """Ask the server given on the command line, or the one on this machine's SERVING_PORT."""
    default = f"localhost:{os.environ.get('SERVING_PORT', '8500')}"
    target = sys.argv[1] if len(sys.argv) > 1 else default
    # A proxy in the environment is for the way out; a probe stays where it is.
    options = [("grpc.enable_http_proxy", 0)]
    try:
        with PredictClient(target, timeout=TIMEOUT_SECONDS, options=options) as client:
            serving = client.is_serving()
    except PredictError as error:
        sys.exit(f"{target}: {error}")
    if not serving:
        sys.exit(f"{target}: NOT_SERVING")
    sys.stdout.write(f"{target}: SERVING\n")


if __name__ == "__main__":
    main()
