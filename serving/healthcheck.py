"""Probe a server: `python -m serving.healthcheck [HOST:PORT]` exits 0 if it is SERVING, else 1.

For container health checks: opens one connection, calls grpc.health.v1 and prints one line. Without
arguments it probes the server of its own container, with the settings of the same variables.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from serving.client import PredictClient, PredictError, tls_credentials
from serving.errors import ConfigError

TIMEOUT_SECONDS = 3.0
# Variables that give the flags' defaults.
_VARIABLES = {
    "ca": "SERVING_HEALTHCHECK_CA",
    "cert": "SERVING_HEALTHCHECK_CERT",
    "key": "SERVING_HEALTHCHECK_KEY",
}
_MODELS_VARIABLE = "SERVING_HEALTHCHECK_MODELS"


@dataclass(frozen=True)
class Probe:
    """A probe of one server.

    Attributes:
        target: `host:port`.
        credentials: TLS credentials; None for plain text.
        server_name: Name in the server's certificate; None if it is the host of the target.
    """

    target: str
    credentials: grpc.ChannelCredentials | None = None
    server_name: str | None = None

    def not_serving(self, models: Sequence[str] = ()) -> str | None:
        """Ask the server, and then for each model whether it has a loaded version.

        Args:
            models: Names of models.

        Returns:
            What is not SERVING: an empty text for the server, or the model's name; None if all is.

        Raises:
            PredictError: the server cannot be reached, or does not know a model.
        """
        # Ignore http_proxy: the probe connects to this machine.
        options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
        if self.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        with PredictClient(
            self.target, timeout=TIMEOUT_SECONDS, credentials=self.credentials, options=options
        ) as client:
            return next((name for name in ("", *models) if not client.is_serving(name)), None)


def main() -> None:
    """Probe a server and end the process with the result."""
    try:
        arguments = _parse(sys.argv[1:], os.environ)
        probe = _probe(arguments, os.environ)
        failed = probe.not_serving([name for name in arguments.models.split(",") if name])
    except (OSError, ValueError, ConfigError) as error:
        sys.exit(f"error: {error}")
    except PredictError as error:
        sys.exit(f"{probe.target}: {error}")
    if failed is not None:
        sys.exit(f"{probe.target}: {failed}{': ' if failed else ''}NOT_SERVING")
    sys.stdout.write(f"{probe.target}: SERVING\n")


def _parse(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving.healthcheck",
        description="Exit with 0 if a server is SERVING, else with 1. Without HOST:PORT, probe the "
        "server on this machine whose settings are in the same variables: SERVING_HEALTH_PORT, or "
        "else SERVING_PORT with the certificate of SERVING_SSL_CONFIG_FILE.",
    )
    parser.add_argument("target", nargs="?", metavar="HOST:PORT")
    for name, text in (
        ("ca", "use TLS and trust this PEM file"),
        ("cert", "client certificate (PEM), for mutual TLS"),
        ("key", "key of --cert (PEM)"),
    ):
        variable = _VARIABLES[name]
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="FILE",
            help=f"{text} (default: ${variable})",
            default=environment.get(variable) or None,
        )
    parser.add_argument(
        "--models",
        metavar="NAME,NAME",
        help="the check also fails if one of these models has no loaded version, for updates that "
        f"a broken model must stop (default: ${_MODELS_VARIABLE})",
        default=environment.get(_MODELS_VARIABLE) or "",
    )
    return parser.parse_args(arguments)


def _probe(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Probe:
    """Return the probe that the arguments and the server's own settings describe.

    Raises:
        OSError: a file cannot be read.
        ValueError: only one of certificate and key is given.
        ConfigError: the server's own TLS file cannot be used.
    """
    health_port = environment.get("SERVING_HEALTH_PORT")
    port = health_port or environment.get("SERVING_PORT") or "8500"
    target = arguments.target or f"localhost:{port}"
    if arguments.target is None and health_port:
        return Probe(target)  # the health port has no TLS
    own = environment.get("SERVING_SSL_CONFIG_FILE")
    if arguments.ca is None and arguments.target is None and own:
        return _probe_of_own_server(target, Path(own), arguments.cert, arguments.key)
    if arguments.ca is None and arguments.cert is None and arguments.key is None:
        return Probe(target)
    return Probe(target, tls_credentials(arguments.ca, arguments.cert, arguments.key))


def _probe_of_own_server(
    target: str, ssl_config_file: Path, cert: Path | None, key: Path | None
) -> Probe:
    """Return a probe that trusts exactly the certificate in the server's own TLS file.

    The certificate names the host that clients use, which is not this machine's name.
    """
    # Without TLS, the probe of a small container needs none of these modules.
    from serving.settings import tls_file  # noqa: PLC0415
    from serving.transport.certificates.facts import CertificateFacts  # noqa: PLC0415
    from serving.transport.tls import pem_files  # noqa: PLC0415

    certificates = tls_file.read(ssl_config_file)
    with pem_files(certificates) as files:
        credentials = tls_credentials(files.certificate, cert, key)
    return Probe(target, credentials, CertificateFacts.of(certificates).host)


if __name__ == "__main__":
    main()
