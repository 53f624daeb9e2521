"""deploy/grafana: the dashboards show every metric, ask for no other, and the folder has what the code says."""

import fnmatch
import json
import re

import pytest

from common.metric_catalogue import CATALOGUE, PLACES, Kind, of
from deploy.grafana import build
from deploy.grafana.alerts import ALERTS
from deploy.grafana.dashboards import DASHBOARDS

_PATH = re.compile(r"tallgrass\.[^,()'\" ]+")
_LEAVES = {Kind.COUNTER: ("rate", "count"), Kind.TIMING: ("mean", "max", "count.rate")}


def _leaves(metric):
    """What Graphite has of a metric: service.name, with an x in its places."""
    services = ("edge", "clue", "exchange") if metric.service == "every" else (metric.service,)
    name = PLACES.sub("x", metric.name)
    leaves = _LEAVES.get(metric.kind, ("",))
    return {f"{service}.{name}.{leaf}".rstrip(".") for service in services for leaf in leaves}


ALL = {leaf: metric for metric in CATALOGUE for leaf in _leaves(metric)}
TARGETS = [(f"{page.title}: {panel.title}", target) for page in DASHBOARDS for row in page.rows for panel in row.panels
           for target in panel.targets]  # fmt: skip
TARGETS += [(f"alert: {alert.title}", alert.target) for alert in ALERTS]


def _paths(target):
    """service.name patterns that a target asks for."""
    for path in _PATH.findall(target):
        _, _, service, instance, *name = path.split(".")
        assert instance == "*", path
        yield ".".join((service, *name))


def _asked(pattern):
    """A star stands for one part, as in Graphite; where the catalogue has a place, any text may stand."""
    parts = pattern.split(".")
    return {
        leaf
        for leaf in ALL
        if len(found := leaf.split(".")) == len(parts)
        and all(fnmatch.fnmatch(name, part) or name == "x" for name, part in zip(found, parts, strict=True))
    }


@pytest.mark.parametrize(("where", "target"), TARGETS)
def test_a_target_asks_for_metrics_that_exist(where, target):
    """Each path in a target is one of the catalogue's."""
    paths = list(_paths(target))
    assert paths, where
    assert all(map(_asked, paths)), where


def test_every_metric_is_on_a_dashboard():
    """None is counted and never shown."""
    shown = set().union(*(_asked(path) for where, target in TARGETS if "alert" not in where for path in _paths(target)))
    names = {(ALL[leaf].service, ALL[leaf].name) for leaf in shown}
    missing = {(metric.service, metric.name) for metric in CATALOGUE} - names
    assert not missing, f"add a panel in deploy/grafana/dashboards.py, then `make dashboards`: {missing}"


@pytest.mark.parametrize(("path", "text"), build.files().items(), ids=lambda value: getattr(value, "name", ""))
def test_what_is_in_the_folder_is_what_the_code_says(path, text):
    """Dashboards, alert rules and docs/metrics.md are up to date: `make dashboards` writes them."""
    assert path.read_text("utf-8") == text


def test_the_page_lists_every_metric():
    """docs/metrics.md has a row for each."""
    page = build.metrics_page()
    for service in ("edge", "clue", "exchange", "verify"):
        assert all(f"| `{metric.name}` | {metric.kind.value} |" in page for metric in of(service))


def test_alert_rules_are_complete():
    """Each rule asks, reduces and compares, and says what to do."""
    (group,) = json.loads(build.alerts_json())["groups"]
    assert len({rule["uid"] for rule in group["rules"]}) == len(ALERTS)
    for rule in group["rules"]:
        assert [query["refId"] for query in rule["data"]] == ["A", "B", "C"]
        assert rule["condition"] == "C"
        assert rule["annotations"]["description"]
        assert rule["data"][2]["model"]["conditions"][0]["evaluator"]["type"] == "gt"
