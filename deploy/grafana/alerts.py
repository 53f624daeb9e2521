"""The alert rules: what to ask Graphite, from which value on it is an alarm, and why that value."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.grafana.panels import path


@dataclass(frozen=True, slots=True)
class Alert:
    uid: str
    title: str
    target: str  # Graphite; each series is judged by itself
    above: float
    for_s: int  # how long it must be so
    severity: str  # page: somebody must come now; ticket: in working hours
    why: str  # the threshold explained, and what to do first


# $cluster is a dashboard's variable; rules look at all clusters.
def _all(expression: str) -> str:
    return expression.replace("$cluster", "*")


ALERTS = (
    Alert(
        "hole-unrepaired",
        "An edge's readers miss lines",
        _all(f"aliasByNode({path('edge', 'follower.oldest_hole_s')}, 1, 3)"),
        above=5,
        for_s=10,
        severity="page",
        why="A hole is fetched from the log within 0.1 s; after 5 s two tries of 2 s have failed. Clue or a shard does "
        "not answer that edge: look at its log lines replay_failed.",
    ),
    Alert(
        "holes-lost",
        "Lines are lost for good",
        _all(f"aliasByNode({path('edge', 'follower.losses', 'count')}, 1, 3)"),
        above=0,
        for_s=0,
        severity="page",
        why="The log keeps about 1,000 entries of a channel; an edge came back after more had passed. One is one too "
        "many: entries_lost in its log names the channel.",
    ),
    Alert(
        "verdict-timeouts",
        "Senders are told that chat is unavailable",
        _all(f"aliasByNode(movingAverage({path('edge', 'verdicts.unavailable', 'rate')}, '30s'), 1, 3)"),
        above=0.1,
        for_s=30,
        severity="page",
        why="A sender is told so after 5 s of tries. A single one may be a shard that failed over; three in half a "
        "minute are more. Read the Overview from the top.",
    ),
    Alert(
        "link-down",
        "An exchange does not deliver to an edge",
        _all(f"aliasByNode({path('edge', 'follower.degraded')}, 1, 3)"),
        above=0,
        for_s=15,
        severity="ticket",
        why="A restart takes about 5 s and edges poll meanwhile: nothing is lost. After 15 s the exchange is not "
        "coming back by itself: the edge's log line degraded names it.",
    ),
    Alert(
        "redis-core",
        "A Redis shard is nearly full",
        _all(f"aliasByNode({path('clue', 'redis.*.core_percent')}, 1, 3, 5)"),
        above=80,
        for_s=60,
        severity="ticket",
        why="A server uses one core. From 80 % on, waiting grows faster than load (at 90 % it is twice that at 80 %): "
        "add shards, or look for a foreign client.",
    ),
    Alert(
        "loop-lag",
        "A process has more than it can do",
        _all(f"aliasByNode({path('*', 'loop.lag_ms.mean')}, 1, 2, 3)"),
        above=50,
        for_s=30,
        severity="ticket",
        why="Passes are cut into slices of at most 2 ms; 50 ms on average are many of them ahead of everybody, which "
        "users begin to notice. More edges, or fewer sessions on this one.",
    ),
    Alert(
        "foreign-redis-connections",
        "A stranger is connected to our Redis",
        _all(f"aliasByNode({path('clue', 'redis.*.foreign_clients')}, 1, 3, 5)"),
        above=0,
        for_s=30,
        severity="page",
        why="Only clues of the same cluster may be. A service of another cluster there is the worst misconfiguration "
        "that there is; half a minute leaves room for an operator's look. clue's log line foreign_redis_connection "
        "names it.",
    ),
    Alert(
        "verify-failing",
        "tallgrass verify found something wrong",
        _all(f"aliasByNode(keepLastValue({path('verify', 'status')}), 1, 3)"),
        above=0,
        for_s=0,
        severity="page",
        why="Its exit status: anything but 0 means that a message was lost, doubled, out of order, or that an edge "
        "could not be read. Run it by hand, it says which.",
    ),
    Alert(
        "directory-down",
        "The clusters' shared directory does not answer",
        _all(f"aliasByNode(offset(scale({path('clue', 'directory.up')}, -1), 1), 1, 3)"),
        above=0,
        for_s=30,
        severity="ticket",
        why="Chat goes on, and so do joins of known channels and logins of known users; moves and new accounts wait. "
        "Half a minute leaves room for a restart. `tallgrass doctor` says from where it is not reached.",
    ),
    Alert(
        "certificate",
        "A TLS certificate is about to expire",
        _all(f"aliasByNode(scale({path('edge', 'tls.days_left')}, -1), 1, 3)"),
        above=-7,
        for_s=60,
        severity="ticket",
        why="Seven days are enough to renew it by hand when what renews it has failed. Then SIGHUP the edge: it reads "
        "the files again, and nobody is disconnected.",
    ),
    Alert(
        "descriptors",
        "A process runs out of descriptors",
        _all(
            f"aliasByNode(scale(divideSeriesLists({path('edge', 'process.fds')}, "
            f"{path('edge', 'process.fd_limit')}), 100), 1, 3)"
        ),
        above=85,
        for_s=30,
        severity="ticket",
        why="An edge refuses users 200 below its limit, with a reason; at 85 % there is time to raise the limit or "
        "add an edge.",
    ),
)
