"""Probe a server: `python -m serving.healthcheck [HOST:PORT]` exits 0 if it says SERVING, else 1.

For container health checks. It opens one connection, asks grpc.health.v1 and prints one line.
"""

import sys

from serving.client import PredictClient, PredictError

TIMEOUT_SECONDS = 3.0


def main() -> None:
    """Ask the server given on the command line, or the one on this machine's port 8500."""
    target = sys.argv[1] if len(sys.argv) > 1 else "localhost:8500"
    try:
        with PredictClient(target, timeout=TIMEOUT_SECONDS) as client:
            serving = client.is_serving()
    except PredictError as error:
        sys.exit(f"{target}: {error}")
    if not serving:
        sys.exit(f"{target}: NOT_SERVING")
    sys.stdout.write(f"{target}: SERVING\n")


if __name__ == "__main__":
    main()
