"""The result of a search: the document, the lines on the terminal, and the environment file."""

from dataclasses import dataclass
from datetime import UTC, datetime

from loadtest.figures.manifest import Environment
from loadtest.settings.config import LoadTestConfig
from loadtest.tune.cells import DEFAULTS, Cell, differences
from loadtest.tune.document import Machine, Tuned, gain_of, round_of
from loadtest.tune.search import Search
from loadtest.tune.served_model import TunedModel
from loadtest.verdict.validity import CPU_SHARE
from training import schemas

# Load average of a machine that is quiet enough to measure on, as a share of its cores.
_QUIET = 0.5


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A finished search and its settings.

    Attributes:
        search: The search.
        config: Settings of every measurement.
        percentile: Latency percentile of the bound.
        model: The model.
        environment: The machine.
        grid_cells: Cells of the whole grid.
        server_flags: Flags of every server.
        started: Start of the search.
    """

    search: Search
    config: LoadTestConfig
    percentile: float
    model: TunedModel
    environment: Environment
    grid_cells: int
    server_flags: list[str]
    started: datetime

    def document(self) -> Tuned:
        """Return the content of tune.json."""
        search, halving = self.search, self.search.halving
        best, recommended = search.best, search.recommended
        return Tuned(
            schema_version=schemas.TUNE.newest,
            started_utc=self.started.astimezone(UTC).isoformat(timespec="seconds"),
            seconds=round(search.clock, 3),
            stop_reason=search.stop_reason or (halving.stopped_by if halving else None),
            model=self.model.name,
            version=self.model.version,
            slo_ms=self.config.slo_ms or 0.0,
            percentile=self.percentile,
            batch=self.config.batch or 1,
            measurement_seconds=search.limits.seconds,
            overhead_seconds=search.overhead_seconds,
            server_flags=self.server_flags,
            machine=Machine(
                cores=search.limits.cores,
                cpu=self.environment.cpu,
                provider=search.provider,
                load_average_1_min_at_start=self.environment.load_average_1_min_at_start,
                versions=self.environment.versions | search.server_versions,
                git_commit=self.environment.git_commit,
            ),
            default_precision=search.default_precision,
            top1=self.model.top1,
            cells=[cell.values for cell in search.cells],
            grid_cells=self.grid_cells,
            dropped=search.dropped,
            rounds=[round_of(each, search.index) for each in halving.rounds] if halving else [],
            measurements=search.measurements,
            best=None if best is None else search.index[best],
            gain=gain_of(search.gain),
            recommended=None if recommended is None else search.index[recommended],
        )

    def lines(self) -> list[str]:
        """Return the result for the terminal."""
        search = self.search
        where = f"{search.limits.cores} cores, {search.provider or 'provider unknown'}"
        cells = f"{len(search.cells) - 1} of {self.grid_cells} cells"
        lines = [
            f"{'model':<13}{self.model.name}, version {self.model.version}, {self.bound}, {where}",
            f"{'top-1':<13}{self._accuracies()}",
            f"{'measured':<13}{cells}, {len(search.measurements)} times, {search.clock:.0f} s",
        ]
        if search.dropped:
            lines.append(f"{'left out':<13}{len(search.dropped)} cells, see tune.json for reasons")
        lines += self._verdict()
        if (check := search.check) is not None:
            lines.append(
                f"{'arrivals':<13}Poisson, {check.rate_per_second:,.0f}/s: "
                f"{100 * check.share:.2f} % within {self.config.slo_ms:g} ms of their due times, "
                f"p{self.percentile:g} {_ms(check.percentile_ms)}"
            )
        busy = sum(one.client_cpu_share > CPU_SHARE for one in search.measurements)
        if busy:
            lines.append(
                f"{'client':<13}the load generator used over {100 * CPU_SHARE:.0f} % of a core in "
                f"{busy} measurements, so differences may be larger than measured; --processes"
            )
        load, cores = self.environment.load_average_1_min_at_start, search.limits.cores
        if load is not None and load > _QUIET * cores:
            lines.append(
                f"{'machine':<13}load average {load:g} on {cores} cores before the search: other "
                "programs were running, so search again when they do not"
            )
        return lines

    @property
    def bound(self) -> str:
        """The latency bound as text."""
        return f"p{self.percentile:g} within {self.config.slo_ms:g} ms"

    @property
    def verdict(self) -> str:
        """The gain as one sentence."""
        search, best, gain = self.search, self.search.best, self.search.gain
        if best is None:
            return "no cell was measured"
        if search.is_default:
            return "the default flags are the best cell"
        if gain is None:
            return "not compared with the default flags: " + (
                search.stop_reason or "a measurement had no answer within the bound"
            )
        rates = f"{search.goodput(best):,.0f} instead of {search.goodput(DEFAULTS):,.0f} requests/s"
        text = (
            f"{gain} times the default flags' goodput, 95 % interval; {rates}, {gain.pairs} pairs"
        )
        if gain.is_clear:
            return text
        if gain.interval_95[1] < 1:
            return f"{text}; it was only lucky in the search, and the defaults are faster"
        return f"{text}; the interval has 1 in it, so the defaults are as good"

    def environment_file(self) -> str | None:
        """Return the recommended flags as variables; None without a recommendation.

        The file has the form that `docker compose --env-file`, `env_file:`, `docker run --env-file`
        and the shell read.
        """
        recommended = self.search.recommended
        if recommended is None:
            return None
        cpu = self.environment.cpu or "unknown processor"
        day, where = f"{self.started.astimezone(UTC):%Y-%m-%d}", f"{self.search.limits.cores} cores"
        head = [
            f"Written by `python -m loadtest tune`, {day}, on {where} ({cpu}).",
            f"Model {self.model.name}, version {self.model.version}, {self.bound}.",
            f"Best cell of {len(self.search.cells) - 1}: {self.verdict}.",
        ]
        values = [f"{name}={value}" for name, value in recommended.variables.items()]
        return "\n".join([*(f"# {line}" for line in head), *values]) + "\n"

    def _verdict(self) -> list[str]:
        best, recommended = self.search.best, self.search.recommended
        lines = []
        if best is not None:
            lines.append(f"{'best':<13}{best}{self._precision(best)}")
        lines.append(f"{'gain':<13}{self.verdict}")
        if recommended == DEFAULTS:
            lines.append(f"{'recommended':<13}no flags: keep the defaults")
        elif recommended is not None:
            lines.append(f"{'recommended':<13}python -m serving {recommended}")
            lines.append(f"{'':<13}{self._changes(recommended)}")
        elif best is not None:
            lines.append(f"{'recommended':<13}none; the best so far is not confirmed")
        return [line.rstrip() for line in lines]

    def _changes(self, cell: Cell) -> str:
        changed = differences(cell, DEFAULTS)
        return "instead of " + " ".join(f"--{flag}={old}" for flag, (_, old) in changed.items())

    def _precision(self, cell: Cell) -> str:
        """Return the accuracy of a cell's precision, and of the default's if it is another."""
        precision, default = cell.precision, self.search.default_precision
        if default is None or precision in {"auto", default}:
            return ""
        return (
            f" (top-1 {_percent(self.model.top1.get(precision))}, the default's {default} "
            f"{_percent(self.model.top1.get(default))})"
        )

    def _accuracies(self) -> str:
        return ", ".join(f"{name} {_percent(top1)}" for name, top1 in self.model.top1.items())


def _percent(share: float | None) -> str:
    return "not recorded" if share is None else f"{100 * share:.2f} %"


def _ms(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f} ms"
