"""Make, list and revoke keys: `python -m serving.keys new NAME --role predict --file keys.json`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from serving.access import keys_editor
from serving.access.keys_file import check_name, point_in_time
from serving.access.roles import GRANTED
from serving.errors import ConfigError

_VARIABLE = "SERVING_API_KEYS_FILE"


def main() -> None:
    """Run the command; print one line and exit with 2 if it is refused."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.keys",
        description="Make, list and revoke the API keys of a server's --api_keys_file.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    default = os.environ.get(_VARIABLE, "")
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument(
        "--file",
        type=Path,
        required=not default,
        default=Path(default),
        help=f"the keys file (default: the value of {_VARIABLE})",
    )
    new = commands.add_parser("new", parents=[file], help="make a key, and print it once")
    new.add_argument("name", metavar="NAME", help="name of the caller, for logs and messages")
    new.add_argument(
        *("--role", "-r"),
        action="append",
        required=True,
        choices=[str(role) for role in GRANTED],
        help="what the caller may do; repeat the flag for several roles",
    )
    new.add_argument(
        "--model", action="append", help="a model that the caller may use (default: all models)"
    )
    new.add_argument("--rate", type=float, metavar="N", help="most requests a second")
    new.add_argument("--burst", type=float, metavar="N", help="most requests at once (with --rate)")
    new.add_argument("--in-flight", type=int, metavar="N", help="most requests at a time")
    new.add_argument("--expires", metavar="DATE", help="end of the key, such as 2027-01-31 (UTC)")
    new.add_argument(
        "--subject",
        metavar="SUBJECT",
        help="instead of a key: the subject of a client certificate, such as 'CN=web,O=Example'",
    )
    new.set_defaults(run=_new)
    listed = commands.add_parser("list", parents=[file], help="print the entries")
    listed.set_defaults(run=_list)
    revoke = commands.add_parser("revoke", parents=[file], help="remove an entry")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=_revoke)
    return parser


def _new(arguments: argparse.Namespace) -> None:
    """Add an entry, and print its key to standard output."""
    if arguments.burst is not None and arguments.rate is None:
        msg = "--burst given without --rate, expected both"
        raise ConfigError(msg)
    if arguments.expires is not None:
        point_in_time(arguments.expires)
    key = None if arguments.subject else keys_editor.new_key()
    entry: dict[str, Any] = {
        "name": check_name(arguments.name),
        "sha256": key and keys_editor.digest_of(key),
        "subject": arguments.subject,
        "roles": list(dict.fromkeys(arguments.role)),
        "models": arguments.model,
        "requests_per_second": arguments.rate,
        "burst": arguments.burst,
        "in_flight": arguments.in_flight,
        "expires": arguments.expires,
    }
    keys_editor.add(
        arguments.file, {name: value for name, value in entry.items() if value is not None}
    )
    print(
        f"{arguments.file}: added {arguments.name}; "
        + ("the key is shown only now:" if key else "the server knows it by its certificate"),
        file=sys.stderr,
    )
    if key:
        print(key)


def _list(arguments: argparse.Namespace) -> None:
    """Print a line for each entry."""
    rows = list(keys_editor.described(keys_editor.read(arguments.file)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(line).rstrip())


def _revoke(arguments: argparse.Namespace) -> None:
    """Remove an entry; running servers refuse its key from their next check of the file on."""
    keys_editor.revoke(arguments.file, arguments.name)
    print(f"{arguments.file}: revoked {arguments.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
