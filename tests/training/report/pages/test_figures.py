from training.report.pages import figures


def test_chart_shows_a_name_that_looks_like_a_formula():
    """Dollar signs and markup in a run's name are drawn, not interpreted."""
    names = {
        r"$\frac{1$ <b>&": (0.8, (0.7, 0.9)),
        "a very long name of a run " * 3: (0.8, (0.7, 0.9)),
    }

    svg = figures.svg(lambda: figures.accuracies(names, {"published": 0.7}), "dark")

    assert svg.rstrip().endswith(b"</svg>")
