"""Probe a server: `python -m serving.healthcheck [HOST:PORT]` exits 0 if it is SERVING, else 1.

For container health checks: opens one connection, calls grpc.health.v1 and prints one line.
"""

import argparse
import os
import sys
from pathlib import Path

import grpc

from serving.client import PredictClient, PredictError

TIMEOUT_SECONDS = 3.0


def main() -> None:
    """Probe a server; by default localhost on port SERVING_HEALTH_PORT, or else SERVING_PORT."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.healthcheck",
        description="Exit with 0 if a server is SERVING, else with 1.",
    )
    port = os.environ.get("SERVING_HEALTH_PORT") or os.environ.get("SERVING_PORT", "8500")
    default = f"localhost:{port}"
    parser.add_argument("target", nargs="?", default=default, metavar="HOST:PORT")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="use TLS and trust this PEM file")
    parser.add_argument(
        "--cert", type=Path, metavar="FILE", help="client certificate (PEM), for mutual TLS"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="key of --cert (PEM)")
    arguments = parser.parse_args()
    target = arguments.target
    # Ignore http_proxy: the probe connects to this machine.
    options = [("grpc.enable_http_proxy", 0)]
    try:
        credentials = _credentials(arguments.ca, arguments.key, arguments.cert)
        with PredictClient(
            target, timeout=TIMEOUT_SECONDS, credentials=credentials, options=options
        ) as client:
            serving = client.is_serving()
    except OSError as error:
        sys.exit(f"error: {error}")
    except PredictError as error:
        sys.exit(f"{target}: {error}")
    if not serving:
        sys.exit(f"{target}: NOT_SERVING")
    sys.stdout.write(f"{target}: SERVING\n")


def _credentials(
    authority: Path | None, key: Path | None, certificate: Path | None
) -> grpc.ChannelCredentials | None:
    """Return TLS credentials from PEM files; None, for plain text, without an authority.

    Raises:
        OSError: a file cannot be read.
    """
    if authority is None:
        return None
    return grpc.ssl_channel_credentials(
        authority.read_bytes(),
        key.read_bytes() if key else None,
        certificate.read_bytes() if certificate else None,
    )


if __name__ == "__main__":
    main()
