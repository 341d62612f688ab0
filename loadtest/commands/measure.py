"""The commands `run` and `find-capacity`: they measure, write a report and return an exit code."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from loadtest.capacity.find import find, load_without_rate
from loadtest.figures import sample_file
from loadtest.generator.event_loop import run_event_loop
from loadtest.live.watch import Watch
from loadtest.load.scenarios import SettledLoad, settle
from loadtest.report_schema import RAW_FILE, Report
from loadtest.reports.pages import files, terminal
from loadtest.rows import recorded_split, sources
from loadtest.rows.dataset import Source
from loadtest.session import first_request, session
from loadtest.session.session import Measurement
from loadtest.settings.arguments import parse_capacity, parse_run
from loadtest.settings.config import LoadTestConfig, LoadTestError
from loadtest.verdict import gates
from loadtest.verdict.baseline import load_baseline
from training import storage


def run(arguments: Sequence[str]) -> int:
    """Measure one load; see `run --help`.

    Returns:
        Exit code: 0 if every gate passed, else 1.

    Raises:
        UsageError: The run cannot start.
    """
    config = recorded_split.settled(parse_run(arguments))
    source = _source(config)
    load = settle(config, len(source), source.noun)
    baseline = _baseline(config, load, capacity=False)
    with prepared(config):
        print(
            f"{config.target}: {load.description}, batch {load.batch}, {load.ends}; "
            "Ctrl-C ends it early",
            file=sys.stderr,
        )
        with Watch(plain=config.plain) as watch:
            measurement = run_event_loop(session.run(config, load, source, watch))
        return finish(measurement, config, baseline)


def find_capacity(arguments: Sequence[str]) -> int:
    """Find the highest rate within a latency bound; see `find-capacity --help`.

    Returns:
        Exit code: 0 if a rate was found and confirmed and every gate passed, else 1.

    Raises:
        UsageError: The search cannot start.
    """
    config = parse_capacity(arguments)
    config = dataclasses.replace(config, run=recorded_split.settled(config.run))
    source = _source(config.run)
    load = load_without_rate(config, len(source))
    baseline = _baseline(config.run, load, capacity=True)
    with prepared(config.run):
        print(
            f"{config.run.target}: highest rate with p{load.percentile:g} within "
            f"{config.run.slo_ms:g} ms, batch {load.batch}; Ctrl-C ends it early",
            file=sys.stderr,
        )
        with Watch(plain=config.run.plain) as watch:
            measurement = run_event_loop(find(config, load, source, watch))
        return finish(measurement, config.run, baseline)


def finish(measurement: Measurement, config: LoadTestConfig, baseline: Report | None) -> int:
    """Apply the gates to a result, write its report and its samples, and print it.

    Returns:
        Exit code: 0 if every gate passed, else 1.

    Raises:
        StorageError: The report cannot be written. An older one in the folder is not changed.
        LoadTestError: The report is written, but the file of --save-samples cannot be. An older one
            is not changed.
    """
    report = measurement.report
    report = replace(report, gates=gates.apply(report, config.gates, baseline))
    print(terminal.text(report), flush=True)  # first, as the report may find no room
    samples = measurement.samples()
    files.write_run(report, config.output_dir, {RAW_FILE: samples.npz()})
    print(f"{'report':<12}{config.output_dir / 'report.html'}", flush=True)
    if config.save_samples is not None:
        with _for_samples():
            storage.write(config.save_samples, sample_file.encode(samples, config.save_samples))
        print(f"{'samples':<12}{config.save_samples}")
    missed = gates.missed(report.gates)
    if missed is not None:
        sys.stdout.flush()
        print(f"failed: {missed}", file=sys.stderr)
    if config.print_json:
        print(msgspec.json.encode(report).decode())
    return 0 if missed is None else 1


@contextlib.contextmanager
def prepared(config: LoadTestConfig) -> Iterator[None]:
    """Find out before the run whether its report and its samples can be written.

    Nothing is left in their folders, even if the run is killed. If the run has no result, the
    folders that were created here and are empty are removed.

    Args:
        config: Settings of the run.

    Raises:
        StorageError: The folder of the report cannot be created or written to.
        LoadTestError: The file of --save-samples cannot be written.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(storage.folder(config.output_dir))
        storage.check(config.output_dir)
        if config.save_samples is not None:
            sample_file.check(config.save_samples)
            with _for_samples():
                stack.enter_context(storage.folder(config.save_samples.parent))
                storage.check(config.save_samples.parent)
        yield


@contextlib.contextmanager
def _for_samples() -> Iterator[None]:
    """Name --save-samples as the way out if the block cannot write."""
    try:
        yield
    except storage.StorageError as error:
        msg = f"{error}, or name another file with --save-samples"
        raise LoadTestError(msg) from error


def _source(config: LoadTestConfig) -> Source:
    """Return the source of the rows of a run."""
    source = sources.open_source(config.data)
    run_event_loop(first_request.prepare(source, config))
    return source


def _baseline(config: LoadTestConfig, load: SettledLoad, *, capacity: bool) -> Report | None:
    if config.gates.baseline is None:
        return None
    return load_baseline(config.gates.baseline, model=config.model, load=load, capacity=capacity)
