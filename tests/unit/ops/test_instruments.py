"""ops/instruments.py: what is started for --metrics, and what is said when it cannot be."""

import pytest

from common.errors import ConfigError
from ops import instruments
from ops.data_folder import DataFolder


def _plan(tmp_path):
    folder = DataFolder(tmp_path)
    (tmp_path / "logs").mkdir()
    ports = iter(range(4001, 4010))
    programs = instruments.Programs("/usr/bin/node", "/x/stats.js", "/usr/bin/carbon-cache", "/usr/bin/graphite-manage")
    return instruments.plan(programs, folder, lambda: next(ports), repeat="127.0.0.1:5005")


def test_the_chain_is_joined_by_its_ports(tmp_path):
    """statsd sends to carbon's line port, repeats to top's, and Graphite asks carbon's cache."""
    plan = _plan(tmp_path)
    carbon, web, statsd = (spec for spec, _ in plan.children)
    assert plan.statsd == statsd.addresses["statsd"]
    assert statsd.environment["GRAPHITE_PORT"] == carbon.addresses["graphite"].rpartition(":")[2]
    assert statsd.environment["STATSD_REPEAT"] == "5005"
    settings = (tmp_path / "metrics" / "tallgrass_graphite.py").read_text()
    query_port = (tmp_path / "metrics" / "carbon.conf").read_text().split("CACHE_QUERY_PORT = ")[1].split()[0]
    assert f'CARBONLINK_HOSTS = ["127.0.0.1:{query_port}"]' in settings
    assert plan.graphite == f"http://{web.addresses['http']}"


def test_graphites_settings_are_python(tmp_path):
    """The file that Graphite imports names the folder of this stack only."""
    _plan(tmp_path)
    settings: dict[str, object] = {}
    exec((tmp_path / "metrics" / "tallgrass_graphite.py").read_text(), settings)
    assert settings["WHISPER_DIR"] == str(tmp_path / "metrics" / "whisper")
    assert settings["STANDARD_DIRS"] == [settings["WHISPER_DIR"]]


def test_what_is_missing_is_named_with_its_package(monkeypatch):
    """Each missing program is told together with where it comes from."""
    monkeypatch.setattr(instruments.shutil, "which", lambda *arguments, **options: None)
    with pytest.raises(ConfigError, match=r"carbon-cache \(Debian: graphite-carbon\); graphite-manage \(Debian: gra"):
        instruments.find()
