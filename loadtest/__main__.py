"""Test a model server's latency and accuracy at once.

python -m loadtest --target localhost:8500 --model simcnn --users 32 --models-dir models
python -m loadtest web --target localhost:8500 --model simcnn
"""

import locust  # noqa: F401, I001 - first of all imports: it patches the standard library for gevent

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from loadtest import headless, manifest, rendering, report, web
from loadtest.config import LoadTestConfig, UsageError, parse_config
from loadtest.images import load_test_images, make_queries
from loadtest.recorder import Recorder
from loadtest.scenarios import ClosedLoop


def run(config: LoadTestConfig) -> int:
    """Run a load test, print and write its report.

    Returns:
        Exit code: 0 if every request was answered, else 1.

    Raises:
        UsageError: It cannot start.
    """
    environment = manifest.describe()
    split = load_test_images(config.data_dir)
    queries = make_queries(
        split, model=config.model, version=config.version, batch=config.batch, seed=config.seed
    )
    headless.probe(config, queries[0])
    report.prepare(config.output_dir)
    one_pass = config.requests is None and config.duration_seconds is None
    scenario = ClosedLoop(
        queries,
        Recorder(split.labels),
        users=config.users,
        requests=len(queries) if one_pass else config.requests,
        duration_seconds=config.duration_seconds,
        warmup_requests=config.warmup_requests,
    )
    what = f"{report.kind(config)}, {report.plan(config, len(split))}"
    print(f"{config.target}: {what}; Ctrl-C ends it early", file=sys.stderr)
    started = datetime.now(UTC)

    def print_progress() -> None:
        print(f"{scenario.recorder.finished:,} requests finished", file=sys.stderr, flush=True)

    headless.run(config, scenario, print_progress)
    result = report.build(
        config, scenario, split=split, queries=queries, environment=environment, started=started
    )
    report.write(result, scenario, config.output_dir)
    print(rendering.table(result))
    print(f"{'report':<12}{config.output_dir / 'report.md'}")
    if config.print_json:
        print(json.dumps(result, ensure_ascii=False))
    return 0 if result["status"] == "complete" else 1


def main(arguments: Sequence[str]) -> int:
    """Run the command line; what cannot start ends in one line and exit code 2."""
    if arguments[:1] == ["web"]:
        return web.main(arguments[1:])
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Locust warns of spawning many users a second; here all of them wait until the last is ready.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    try:
        return run(parse_config(arguments))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
