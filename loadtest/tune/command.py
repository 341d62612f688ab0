"""`python -m loadtest tune`: the fastest flags of the server on this machine, with their gain."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from loadtest.figures import manifest
from loadtest.rows import recorded_split, sources
from loadtest.settings.config import LoadTestError
from loadtest.tune import served_model
from loadtest.tune.arguments import TuneConfig, parse
from loadtest.tune.document import TUNE_FILE, encode
from loadtest.tune.meter import Meter
from loadtest.tune.results import SearchResult
from loadtest.tune.search import Search
from loadtest.tune.search_line import SearchLine
from loadtest.tune.server_pool import ServerPool
from training import storage


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        Exit code: 0 if the gain was measured, or the defaults are the best cell; else 1.

    Raises:
        UsageError: The search cannot start.
    """
    config = parse(list(arguments))
    config = replace(config, run=recorded_split.settled(config.run))
    source = sources.open_source(config.run.data)
    with _prepared(config):
        environment = manifest.describe()
        started = datetime.now(UTC)
        line = SearchLine()
        _announce(config, line)
        folder = config.run.output_dir / "servers"
        with (
            served_model.alone(config.models_dir, config.model.name, folder / "models") as models,
            ServerPool(models, config.server_flags, folder, config.limits.servers) as pool,
        ):
            meter = Meter(config=config.run, source=source, pool=pool)
            search = Search(meter=meter, pool=pool, limits=config.limits, line=line)
            if config.record is not None:
                search.record(config.cells, config.record)
            else:
                search.run(config.cells)
        result = SearchResult(
            search=search,
            config=config.run,
            percentile=config.run.percentile or 0.0,
            model=config.model,
            environment=environment,
            grid_cells=len(config.cells),
            server_flags=config.server_flags,
            started=started,
        )
        return _finish(config, result)


def _finish(config: TuneConfig, result: SearchResult) -> int:
    """Print the result, write its files, and return the exit code."""
    document = result.document()
    if config.record is None:
        sys.stdout.write("\n".join(result.lines()) + "\n")
    sys.stdout.flush()
    path = config.run.output_dir / TUNE_FILE
    storage.write(path, encode(document))
    sys.stdout.write(f"{'report':<13}{path}\n")
    text = result.environment_file() if config.record is None else None
    if text is not None:
        storage.write(config.env_file, text.encode())
        sys.stdout.write(f"{'env file':<13}{config.env_file}\n")
    if config.run.print_json:
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    if document.stop_reason is not None:
        sys.stdout.flush()
        sys.stderr.write(f"ended early: {document.stop_reason}\n")
    done = document.stop_reason is None if config.record is not None else text is not None
    return 0 if done else 1


def _announce(config: TuneConfig, line: SearchLine) -> None:
    model, limits = config.model, config.limits
    if model.others:
        line.note(f"model {model.name}; --model names another: {', '.join(model.others)}")
    what = f"{len(config.cells)} cells of workers, instances, threads, batch limit and precision"
    if config.record is not None:
        line.note(f"{what}, {config.record} turns of {limits.seconds:g} s; Ctrl-C ends it early")
    else:
        line.note(f"{what}, at most {limits.max_seconds:g} s; Ctrl-C ends it early")


@contextlib.contextmanager
def _prepared(config: TuneConfig) -> Iterator[None]:
    """Find out before the search whether its files can be written.

    Raises:
        StorageError: The folder of tune.json cannot be created or written to.
        LoadTestError: The folder of the environment file cannot be.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(storage.folder(config.run.output_dir))
        storage.check(config.run.output_dir)
        try:
            stack.enter_context(storage.folder(config.env_file.parent))
            storage.check(config.env_file.parent)
        except storage.StorageError as error:
            msg = f"{error}, or name another file with --env-file"
            raise LoadTestError(msg) from error
        yield
