"""statsd and Graphite beside a single-machine stack: `tallgrass up --metrics`.

Three processes, found where their packages put them (npm's statsd; Debian's graphite-carbon and graphite-web), each
with configuration of its own in the data folder; nothing of the machine's is read or changed. For one machine only:
Graphite's pages are served by Django's own small server. deploy/compose.yaml is the same from images, with Grafana.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError
from ops import probes
from ops.data_folder import DataFolder
from ops.processes import Spec

_DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
_STATSD_PLACES = (_DEPLOY / "statsd", Path("/usr/local/lib"), Path("/usr/lib"), Path("/usr/share"))
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_GRACE_S = 10.0  # carbon writes out what it holds

_CARBON = """\
# Written anew by each `tallgrass up --metrics`.
[cache]
DATABASE = whisper
STORAGE_DIR = {folder}
LOCAL_DATA_DIR = {folder}/whisper
CONF_DIR = {folder}
LOG_DIR = {folder}
PID_DIR = {folder}
ENABLE_LOGROTATION = False
USER =
MAX_CACHE_SIZE = 5000000
MAX_UPDATES_PER_SECOND = 2000
MAX_CREATES_PER_MINUTE = inf
MIN_TIMESTAMP_RESOLUTION = 1
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line_port}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle_port}
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {query_port}
CACHE_WRITE_STRATEGY = timesorted
WHISPER_SPARSE_CREATE = True
WHISPER_FALLOCATE_CREATE = False
LOG_UPDATES = False
LOG_CACHE_HITS = False
CARBON_METRIC_INTERVAL = 10
"""

_SETTINGS = """\
# Graphite's settings. Written anew by each `tallgrass up --metrics`.
SECRET_KEY = {secret!r}
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TIME_ZONE = "UTC"
CONF_DIR = STORAGE_DIR = LOG_DIR = {folder!r}
WHISPER_DIR = {whisper!r}
STANDARD_DIRS = [WHISPER_DIR]
INDEX_FILE = {index!r}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}}}}}
CARBONLINK_HOSTS = ["127.0.0.1:{query_port}"]
FIND_CACHE_DURATION = DEFAULT_CACHE_DURATION = 1  # seconds: what is shown is what is now
LOG_FILE_INFO = LOG_FILE_EXCEPTION = LOG_FILE_CACHE = LOG_FILE_RENDERING = "-"
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """Full paths."""

    node: str
    statsd: str         # stats.js of the npm package
    carbon: str         # carbon-cache
    graphite: str       # graphite-manage


@dataclass(frozen=True, slots=True)
class Instruments:
    statsd: str                                         # HOST:PORT, UDP
    graphite: str                                       # URL: pages, and /render
    children: tuple[tuple[Spec, probes.Probe], ...]     # to be started in this order


def find() -> Programs:
    """Raises ConfigError that names each one that is missing, and its package."""
    statsd = [place / "node_modules" / "statsd" / "stats.js" for place in _STATSD_PLACES]
    found = {
        "node (Debian: nodejs)": shutil.which("node") or shutil.which("nodejs"),
        "statsd (npm install in deploy/statsd, or npm install --global statsd)": next(
            (str(path) for path in statsd if path.is_file()), None
        ),
        "carbon-cache (Debian: graphite-carbon)": shutil.which("carbon-cache", path=_PATH),
        "graphite-manage (Debian: graphite-web)": shutil.which("graphite-manage", path=_PATH),
    }
    if not (_DEPLOY / "statsd" / "config.js").is_file():
        raise ConfigError("--metrics works from a checkout: its configuration is in deploy/, not in the package")
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise ConfigError(f"--metrics needs what is not installed here: {'; '.join(missing)}")
    return Programs(*(path for path in found.values() if path is not None))


def plan(programs: Programs, folder: DataFolder, free_port: Callable[[], int], *, repeat: str) -> Instruments:
    """Write their configuration and say how to start them. `repeat`: HOST:PORT that gets all that statsd gets."""
    home = folder.folder("metrics")
    (home / "whisper").mkdir(exist_ok=True)
    statsd_port, management_port = free_port(), free_port()
    line_port, pickle_port, query_port, web_port = free_port(), free_port(), free_port(), free_port()
    for name in ("storage-schemas.conf", "storage-aggregation.conf"):
        shutil.copyfile(_DEPLOY / "graphite" / name, home / name)
    (home / "carbon.conf").write_text(
        _CARBON.format(folder=home, line_port=line_port, pickle_port=pickle_port, query_port=query_port), "utf-8"
    )
    (home / "tallgrass_graphite.py").write_text(
        _SETTINGS.format(
            secret=secrets.token_hex(24),
            folder=str(home),
            whisper=str(home / "whisper"),
            index=str(home / "index"),
            database=str(home / "graphite.db"),
            query_port=query_port,
        ),
        "utf-8",
    )
    carbon = Spec(
        name="carbon",
        service="carbon",
        argv=(programs.carbon, f"--config={home / 'carbon.conf'}", "--nodaemon", "start"),
        log=folder.log("carbon"),
        grace_s=_GRACE_S,
        addresses={"graphite": f"127.0.0.1:{line_port}"},
        environment=_FOREIGN,
    )
    manage = f'"{programs.graphite}"'
    web = Spec(
        name="graphite",
        service="graphite",
        argv=(
            "/bin/sh",
            "-c",
            f"{manage} migrate --run-syncdb --verbosity 0 && "
            f"exec {manage} runserver --noreload --insecure 127.0.0.1:{web_port}",
        ),
        log=folder.log("graphite"),
        grace_s=_GRACE_S,
        addresses={"http": f"127.0.0.1:{web_port}"},
        environment={**_FOREIGN, "PYTHONPATH": str(home), "GRAPHITE_SETTINGS_MODULE": "tallgrass_graphite"},
    )
    statsd = Spec(
        name="statsd",
        service="statsd",
        argv=(programs.node, programs.statsd, str(_DEPLOY / "statsd" / "config.js")),
        log=folder.log("statsd"),
        grace_s=_GRACE_S,
        addresses={"statsd": f"127.0.0.1:{statsd_port}", "management": f"127.0.0.1:{management_port}"},
        environment={
            "STATSD_PORT": str(statsd_port),
            "STATSD_MANAGEMENT_PORT": str(management_port),
            "STATSD_REPEAT": repeat.rpartition(":")[2],
            "GRAPHITE_PORT": str(line_port),
        },
    )
    url = f"http://127.0.0.1:{web_port}"
    return Instruments(
        statsd=f"127.0.0.1:{statsd_port}",
        graphite=url,
        children=(
            (carbon, probes.listening(f"127.0.0.1:{line_port}")),
            (web, probes.http(f"{url}/metrics/find?query=*")),
            (statsd, probes.listening(f"127.0.0.1:{management_port}")),
        ),
    )


# They run on the distribution's Python: our own environment's settings are not for them.
_FOREIGN = {"PATH": _PATH, "PYTHONPATH": "", "PYTHONHOME": "", "VIRTUAL_ENV": "", "LC_ALL": "C.UTF-8"}
