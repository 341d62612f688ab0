"""The parser of the command lines: a wrong command line is one line of error."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that leaves out the usage, which may be 40 lines long."""

    def error(self, message: str) -> NoReturn:
        """Print the message as one line, and exit with code 2."""
        self.exit(2, f"error: {message}; `{self.prog} --help` explains the flags\n")
