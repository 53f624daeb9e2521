"""Write what Grafana is provisioned with, and docs/metrics.md: `python -m deploy.grafana.build`.

Grafana Foundation SDK has no Graphite query; GraphiteQuery below is what Grafana's own editor saves for one.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import alerting as alerting_builders
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.cog import builder as cog_builder
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting, common, dashboard

from common.metric_catalogue import Kind, of
from deploy.grafana.alerts import ALERTS, Alert
from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.panels import Dashboard, Panel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
_SOURCE = dashboard.DataSourceRef(type_val="graphite", uid="tallgrass-graphite")
_WIDTH, _HEIGHT = 6, 7  # of 24 columns: four panels a row


class GraphiteQuery(variants.Dataquery):
    def __init__(self, ref: str, target: str) -> None:
        self._json = {"refId": ref, "target": target, "datasource": _SOURCE.to_json()}

    def to_json(self) -> dict[str, object]:
        return self._json


class _Threshold(variants.Dataquery):
    """Server-side expression: the last value of query A, and whether it is above the bound."""

    def __init__(self, ref: str, kind: str, **more: object) -> None:
        self._json = {"refId": ref, "type": kind, "datasource": {"type": "__expr__", "uid": "__expr__"}, **more}

    def to_json(self) -> dict[str, object]:
        return self._json


class _Built(cog_builder.Builder[variants.Dataquery]):
    def __init__(self, query: variants.Dataquery) -> None:
        self._query = query

    def build(self) -> variants.Dataquery:
        return self._query


def dashboard_json(page: Dashboard) -> str:
    variable = (
        dashboard_builders.QueryVariable("cluster")
        .datasource(_SOURCE)
        .query("tallgrass.*")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .current(dashboard.VariableOption(text="main", value="main"))
    )
    built = (
        dashboard_builders.Dashboard(page.title)
        .uid(page.uid)
        .description(page.text)
        .tags(["tallgrass"])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(variable)
    )
    for row in page.rows:
        built = built.with_row(dashboard_builders.Row(row.title))
        for panel in row.panels:
            built = built.with_panel(_panel(panel))
    return json.dumps(built.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.text)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .span(_WIDTH)
        .height(_HEIGHT)
        .line_width(1)
        .fill_opacity(10)
        .span_nulls(True)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if panel.least is not None:
        built = built.min(panel.least)
    for number, target in enumerate(panel.targets):
        built = built.with_target(_Built(GraphiteQuery(chr(ord("A") + number), target)))
    return built


def alerts_json() -> str:
    """Grafana's provisioning file for alert rules."""
    rules = [_rule(alert) for alert in ALERTS]
    group = {"orgId": 1, "name": "tallgrass", "folder": "Tallgrass", "interval": "10s", "rules": rules}
    return json.dumps({"apiVersion": 1, "groups": [group]}, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _rule(alert: Alert) -> dict[str, object]:
    span = alerting.RelativeTimeRange(from_val=60, to=0)
    queries: tuple[tuple[str, str, variants.Dataquery], ...] = (
        ("A", "tallgrass-graphite", GraphiteQuery("A", alert.target)),
        ("B", "__expr__", _Threshold("B", "reduce", expression="A", reducer="last", settings={"mode": "dropNN"})),
        (
            "C",
            "__expr__",
            _Threshold(
                "C", "threshold", expression="B", conditions=[{"evaluator": {"type": "gt", "params": [alert.above]}}]
            ),
        ),
    )
    rule = (
        alerting_builders.Rule(alert.title)
        .uid(f"tallgrass-{alert.uid}")
        .condition("C")
        .for_val(f"{alert.for_s}s")
        .no_data_state("OK")  # of an instance that is gone its edges and exchanges tell
        .exec_err_state("Error")
        .labels({"severity": alert.severity})
        .annotations({"summary": alert.title, "description": alert.why, "runbook": "docs/runbook.md"})
    )
    for ref, source, model in queries:
        query = alerting_builders.Query(ref).datasource_uid(source).relative_time_range(span).model(_Built(model))
        rule = rule.with_query(query)
    built = json.loads(json.dumps(rule.build(), cls=JSONEncoder))
    # Provisioning files take neither the folder nor the group's name in a rule.
    return {key: value for key, value in built.items() if key not in ("folderUID", "orgID", "ruleGroup")}


def metrics_page() -> str:
    """docs/metrics.md."""
    lines = [_METRICS_HEAD]
    for service, title in (
        ("every", "Every service"), ("edge", "Edge"), ("clue", "Clue"), ("exchange", "Exchange"),
        ("verify", "tallgrass verify"),
    ):  # fmt: skip
        lines += [f"## {title}", "", "| metric | kind | unit | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{metric.name}` | {metric.kind.value} | {metric.unit} | {metric.meaning} |"
            for metric in sorted(of(service), key=lambda metric: metric.name)
            if metric.service == service
        ]
        lines.append("")
    lines += ["## Alerts", "", _ALERTS_HEAD, "", "| alert | above | for | severity | why |", "|---|---|---|---|---|"]
    lines += [f"| {a.title} | {a.above:g} | {a.for_s} s | {a.severity} | {a.why} |" for a in ALERTS]
    return "\n".join(lines) + "\n"


_ENDINGS = {
    Kind.COUNTER: "`.rate` (per second), `.count`",
    Kind.GAUGE: "as it is",
    Kind.TIMING: "`.mean`, `.max`, `.count.rate`",
}

_METRICS_HEAD = f"""\
# Metrics

Written by `make dashboards` from common/metric_catalogue.py; a test fails when it is not what the code counts.

Each service adds up in its process and sends once a second over UDP to statsd: `tallgrass up --metrics` starts statsd
and Graphite and sends there, `--statsd HOST:PORT` (TALLGRASS_STATSD of a service) sends to yours, and with neither the
numbers are sent to where `tallgrass top` listens (services started by hand keep them). Nobody waits for statsd; when it
is away, that second is lost and nothing else. An edge with 15,000 sessions, 5,000 lines and 200 passes a second spends
2.4 ms of that second on its metrics, 0.24 % of a core (`python -m tests.bench.metrics_cost`); of one that writes
120,000 lines a second to 1,800 users and uses a third of a core for it, py-spy sees 0.2 % of its time in them.

A metric is called `tallgrass.<cluster>.<service>.<instance>.<metric>`, in Graphite too (deploy/statsd/config.js). There

- a counter is {_ENDINGS[Kind.COUNTER]},
- a gauge {_ENDINGS[Kind.GAUGE]},
- a timing {_ENDINGS[Kind.TIMING]}: of each second, in milliseconds.

A place in braces stands for one or more values. What a service counts exists from its start, with 0.

The dashboards are in deploy/grafana (Overview, Edge, Clue & Redis, Exchange & distribution, Clusters & moves, Load
test): `docker compose -f deploy/compose.yaml up` runs statsd, Graphite and Grafana with them at http://127.0.0.1:3000.
docs/runbook.md tells how to read them.
"""

_ALERTS_HEAD = "Rules for Grafana, provisioned from deploy/grafana/provisioning/alerting/tallgrass.json."


def files() -> dict[Path, str]:
    """All that is written, by path."""
    pages = {HERE / "dashboards" / f"{page.uid}.json": dashboard_json(page) for page in DASHBOARDS}
    return {
        **pages,
        HERE / "provisioning" / "alerting" / "tallgrass.json": alerts_json(),
        ROOT / "docs" / "metrics.md": metrics_page(),
    }


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
