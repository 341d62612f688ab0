"""Simulated load test results of a matrix of models, precisions and scenarios."""

from typing import Any

from sample_results.load_reports import report

from loadtest.report_schema import Report


def matrix() -> list[Report]:
    """Return three repeats of closed and open loops of two models, one in two precisions."""
    return [
        made
        for repeat in range(3)
        for model, precision, latency_ms, most, top1 in (
            ("simcnn", "fp32", 0.9, 1800.0, 0.8224),
            ("resnet50", "fp32", 5.5, 260.0, 0.951),
            ("resnet50", "w8", 5.8, 250.0, 0.949),
        )
        for made in _every_scenario(
            repeat,
            latency_ms=latency_ms,
            model=model,
            precision=precision,
            capacity=most,
            top1=top1,
        )
    ]


def _every_scenario(repeat: int, *, latency_ms: float, **common: Any) -> list[Report]:
    most = common["capacity"]
    seed = 100 * repeat
    return [
        report(**common, latency_ms=latency_ms, n=2000, seed=seed, floor=True),
        report(**common, kind="multi-stream", batch=8, latency_ms=4 * latency_ms, seed=seed + 1),
        *(
            report(
                **common,
                kind="server",
                rate=round(most * share),
                latency_ms=latency_ms,
                n=max(1000, round(most * share) * 5),
                seed=seed + 2,
                reasons=("client lag p99 is 1.2 ms",) if share > 0.9 and most > 1000 else (),
                floor=repeat == 0,
            )
            for share in (0.2, 0.4, 0.6, 0.8, 0.95)
        ),
        *(
            report(
                **common,
                kind="offline",
                batch=batch,
                latency_ms=latency_ms * batch**0.8 * 4,
                n=300,
                slo_ms=None,
                seed=seed + 3,
            )
            for batch in (1, 8, 32)
        ),
        *(
            report(
                **common,
                kind="users",
                users=users,
                latency_ms=latency_ms * users**0.9,
                n=1000,
                seed=seed + 4,
            )
            for users in (1, 4, 16)
        ),
    ]
