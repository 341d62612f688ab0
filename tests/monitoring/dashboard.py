"""The dashboard of deploy/monitoring, with its queries filled in as Grafana does."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitoring.prometheus_process import DEPLOY

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "onnx-serving.json").read_text())
# All values of the variables, and a window that a second's scrape interval fills.
FILLED = {"job": ".+", "instance": ".+", "model_name": ".+", "__rate_interval": "10s"}
_KEYWORDS = {"and", "bool", "by", "ignoring", "inf", "nan", "offset", "on", "or", "unless"}


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        panel: Title of the panel.
        expression: PromQL with the dashboard's variables.
        legend: Template of the legend.
    """

    panel: str
    expression: str
    legend: str

    def filled(self, variables: Mapping[str, str] = FILLED) -> str:
        """Return the expression with the values of the variables.

        Raises:
            KeyError: the expression has an unknown variable.
        """
        return re.sub(r"\$(\w+)", lambda found: variables[found[1]], self.expression)

    def name_of(self, labels: Mapping[str, str]) -> str:
        """Return the legend of a series."""
        return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), self.legend)


def panels() -> list[dict[str, Any]]:
    """Return the panels that show data, in the order of the dashboard."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Return the queries of all panels."""
    return [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]


def metrics_of(expression: str) -> set[str]:
    """Return the names of the series that an expression reads."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", text)
    text = re.sub(r"\b(?:by|ignoring|on|without)\s*\([^)]*\)", "", text)
    names = re.findall(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()", text)
    return set(names) - _KEYWORDS
