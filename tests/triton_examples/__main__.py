"""Runs the examples of Triton's Python client: `python tests/triton_examples --examples DIR`.

DIR is `src/python/examples` of a checkout of github.com/triton-inference-server/client. The
environment that `make tritonclient` installs runs them. Prints a table in Markdown, as
docs/triton.md has it; the exit code is 1 if an example fails.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from triton_examples.examples import EXAMPLES, Lab, client_python


def main() -> int:
    """Run all examples; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=Path, required=True, help="folder of the examples")
    parser.add_argument("--python", type=Path, default=client_python(), help="its Python")
    parser.add_argument("--front", default="asgi", help="the server's --front (default: asgi)")
    parser.add_argument("--only", default="", help="run only examples with this text in the name")
    arguments = parser.parse_args()
    failed = 0
    print("| example | result |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(arguments.examples, Path(folder), arguments.python, arguments.front)
        for example in EXAMPLES:
            if arguments.only in example.name:
                outcome = lab.run(example)
                failed += outcome.result == "failed"
                detail = f": {outcome.detail}" if outcome.detail else ""
                print(f"| `{example.name}` | {outcome.result}{detail} |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
