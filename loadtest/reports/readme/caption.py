"""The sentences below the README's tables: server, machines, runs that count, missing figures."""

from collections.abc import Iterable, Sequence

from loadtest.reports import unknown
from loadtest.reports.configurations import CAPACITY
from loadtest.reports.readme.figures import Digest, QuotedLoad, QuotedServer
from loadtest.reports.unknown import NotAvailable

# The figures that the tables show, by kind of load.
_SHOWN = {
    "single-stream": ("p50_ms", "p99_ms"),
    "multi-stream": ("p50_ms", "p99_ms"),
    "users": ("p50_ms", "p99_ms", "images_per_second"),
    "offline": ("images_per_second",),
}
# Why a figure is missing in a digest that has no reasons.
_NO_REASON = "the digest does not say why, as an older version wrote it"
_STARTED = " (python -m serving"


def caption(document: Digest, kinds: Iterable[str]) -> str:
    """Return the conditions of a table, in sentences.

    Args:
        document: The digest.
        kinds: The kinds of loads that the table shows.
    """
    facts = document.facts
    loads = [row.loads[kind] for kind in kinds for row in document.rows if kind in row.loads]
    repeats = {load.valid_runs for load in loads if load.valid_runs} or {0}
    many = " to ".join(map(str, sorted({min(repeats), max(repeats)})))
    rates = [row.loads[CAPACITY].duration for row in document.rows if CAPACITY in row.loads]
    target = "make loadtest-full" if "full" in rates else "make loadtest"
    turns = "in turns" if document.in_turns else "not in turns"
    measured = (
        f"Medians of {many} repeats of each load, {turns}; {_versions(facts)}, commit "
        f"{facts.get('commit', 'unknown')[:7]}, {facts['measured'][:10]}."
    )
    sentences = [
        _counted(loads),
        _places(document),
        measured,
        *_compared(document),
        f"`{target}` measures it again.",
    ]
    return " ".join(sentences)


def missing_note(document: Digest, kinds: Iterable[str]) -> str:
    """Return why figures of a table are "n/a"; empty if none is."""
    cells = [
        NotAvailable(load.missing.get(name, _NO_REASON))
        for kind in kinds
        for row in document.rows
        if (load := row.loads.get(kind)) is not None and load.valid_runs
        for name in _SHOWN.get(kind, ())
        if getattr(load, name) is None
    ]
    if any(row.top1 is None for row in document.rows):
        cells.append(NotAvailable("nothing was answered"))
    return unknown.note([cells])


def left_out_text(load: QuotedLoad) -> str:
    """Return why runs of a load are not quoted: "2 INVALID: client-lag, 1 not confirmed"."""
    left = load.runs - load.valid_runs - sum(load.left_out.values())
    parts = [f"{count} {why}" for why, count in load.left_out.items()]
    if left:
        parts.append(f"{left} INVALID, {_NO_REASON}")
    return ", ".join(parts)


def _counted(loads: Sequence[QuotedLoad]) -> str:
    """Return how many runs count, and why the others do not."""
    runs, valid = sum(load.runs for load in loads), sum(load.valid_runs for load in loads)
    if valid == runs:
        return "The only run counted." if runs == 1 else f"All {runs} runs counted."
    reasons: dict[str, int] = {}
    for load in loads:
        for why, count in load.left_out.items():
            reasons[why] = reasons.get(why, 0) + count
    if (unknown_reasons := runs - valid - sum(reasons.values())) > 0:
        reasons[f"INVALID ({_NO_REASON})"] = unknown_reasons
    head = f"{valid} of {runs} runs counted"
    if runs - valid == 1:
        return f"{head}; the other was {next(iter(reasons))}."
    if len(reasons) == 1:
        return f"{head}; the other {runs - valid} were {next(iter(reasons))}."
    each = (f"{count} {'was' if count == 1 else 'were'} {why}" for why, count in reasons.items())
    return f"{head}; of the others, {', '.join(each)}."


def _places(document: Digest) -> str:
    """Return what was measured, and the machines of client and server."""
    facts = document.facts
    machine = f"{facts.get('cores', '?')} cores ({facts.get('processor', 'processor unknown')})"
    known = facts.get("target", "unknown")
    servers = document.servers
    if not servers and _STARTED in known:
        # A digest of an older version: its text says that the load test started the server.
        servers = [QuotedServer(name=known.partition(_STARTED)[0], place="started")]
    if not servers:
        return f"Target {known}; where it ran is not recorded. Client: {machine}."
    texts = [_server_text(server) for server in servers]
    if all(server.place != "network" for server in servers):
        return f"{'; '.join(texts)}. Client and server on the same machine, {machine}."
    return f"{'; '.join(texts)}. Client: {machine}."


def _server_text(server: QuotedServer) -> str:
    tls = ", over TLS" if server.tls else ""
    if server.place == "started":
        return f"Target {server.name}: `python -m serving`, started by the load test{tls}"
    if server.place == "loopback":
        return f"Target {server.name}: a server that was running at a loopback address{tls}"
    return (
        f"Target {server.name}: a server that was reached over the network{tls}; its machine is "
        "unknown"
    )


def _compared(document: Digest) -> list[str]:
    """Return how many answers differ from the recorded ones."""
    scored = [top1 for row in document.rows if (top1 := row.top1) is not None]
    compared = sum(top1.compared_answers for top1 in scored)
    differing = sum(top1.differing_answers or 0 for top1 in scored)
    if not compared:
        return []
    return [f"{differing:,} of {compared:,} timed answers differ from the recorded ones."]


def _versions(facts: dict[str, str]) -> str:
    """Return the versions that decide the speed: Python, ONNX Runtime, grpcio."""
    named = ", ".join(facts.get(name, "") for name in ("versions", "server's versions"))
    versions = dict(part.rpartition(" ")[::2] for part in named.split(", "))
    titles = {"python": "Python", "onnxruntime": "ONNX Runtime", "grpcio": "grpcio"}
    return ", ".join(
        f"{title} {versions[name]}" for name, title in titles.items() if name in versions
    )
