"""The dashboards: what is shown where. Every metric of common/metric_catalogue.py is on one of them."""

from __future__ import annotations

from deploy.grafana.panels import (
    Dashboard,
    Panel,
    Row,
    by_place,
    gauge,
    mean,
    path,
    per_second,
    ratio,
    share,
    summed,
    total,
    totals,
    worst,
)

SERVICES = ("edge", "clue", "exchange")


def _every(metric: str, leaf: str = "") -> tuple[str, ...]:
    return tuple(f"aliasByNode({path(service, metric, leaf)}, 3)" for service in SERVICES)


# One row a hop, upstream to downstream: what it takes, what it turns away, how long it takes, how full it is. The first
# row in which a figure stands out names the hop; its panels on the other dashboards name the remote.
OVERVIEW = Dashboard(
    "tallgrass-overview",
    "Tallgrass: Overview",
    "One row a hop, from the sender to the readers. The first row with a figure that stands out is where to look.",
    (
        Row(
            "Is something wrong? All of this should be zero",
            (
                Panel(
                    "Senders left without an answer",
                    "Messages whose sender was told that chat is unavailable. Look at "
                    "the rows below: the first that stands out is the cause.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "verdicts.unavailable": "unavailable",
                            "submit.expired": "expired in the edge",
                            "submit.refused_waiting": "too many waiting",
                        },
                    ),
                ),
                Panel(
                    "Readers who miss lines",
                    "Age of the oldest hole that is not filled, and holes that never will be.",
                    "short",
                    (gauge("edge", "follower.oldest_hole_s"), total("edge", "follower.losses", "lost for good")),
                ),
                Panel(
                    "Links down",
                    "Streams that ended, and edges that have to poll because an exchange does not deliver.",
                    "short",
                    (
                        total("exchange", "links_down", "links that ended"),
                        total("exchange", "redials", "redials"),
                        summed("edge", "follower.degraded", "edges polling"),
                    ),
                ),
                Panel(
                    "Redis",
                    "Commands that failed, and connections to our servers that are not ours.",
                    "short",
                    (by_place("clue", "redis.*.errors", "errors of shard"), gauge("clue", "redis.*.foreign_clients")),
                ),
            ),
        ),
        Row(
            "1. Users to edge",
            (
                Panel("Sessions", "Open sessions of each edge.", "short", (gauge("edge", "sessions"),)),
                Panel(
                    "Let in and turned away",
                    "Connections let in, and sessions ended by us, by reason.",
                    "ops",
                    (total("edge", "connections", "let in"), by_place("edge", "disconnects.*", "ended")),
                ),
                Panel(
                    "Logins and joins",
                    "By what clue answered.",
                    "ops",
                    (by_place("edge", "logins.*", "login"), by_place("edge", "joins.*", "join")),
                ),
                Panel(
                    "Edges: loop lag",
                    "How late the loop calls back. Over 50 ms an edge has more than it can do.",
                    "ms",
                    (worst("edge", "loop.lag_ms"),),
                ),
            ),
        ),
        Row(
            "2. Edge to clue",
            (
                Panel(
                    "Messages to clue",
                    "Messages that edges sent to clue.",
                    "ops",
                    (per_second("edge", "submit.taken"),),
                ),
                Panel(
                    "Calls that failed or were repeated",
                    "By call. The edge's log line call_failed has remote and cause.",
                    "ops",
                    (
                        by_place("edge", "clue.errors.*", "failed"),
                        by_place("edge", "clue.retries.*", "repeated"),
                        per_second("edge", "submit.expired"),
                    ),
                ),
                Panel(
                    "Time to a verdict",
                    "From a batch's first try until all of it is decided.",
                    "ms",
                    (mean("edge", "submit.ms"), worst("edge", "submit.ms")),
                ),
                Panel(
                    "Waiting in the edge",
                    "Messages that wait for their verdict.",
                    "short",
                    (gauge("edge", "submit.waiting"),),
                ),
            ),
        ),
        Row(
            "3. Clue",
            (
                Panel(
                    "Decided",
                    "Messages in the log, slash commands, and messages refused, by reason.",
                    "ops",
                    (
                        total("clue", "allowed", "allowed"),
                        total("clue", "commands", "commands"),
                        by_place("clue", "denied.*", "denied"),
                    ),
                ),
                Panel(
                    "Undecided and repeated",
                    "A shard did not answer; a batch came again; the channel had changed.",
                    "ops",
                    totals(
                        "clue",
                        {
                            "unavailable": "unavailable",
                            "submits.retried": "retried batches",
                            "superseded": "superseded",
                            "stale": "stale",
                        },
                    ),
                ),
                Panel(
                    "Time in clue",
                    "From a batch's arrival until it is in the log; until it is answered.",
                    "ms",
                    (worst("clue", "submit.decide_ms"), worst("clue", "submit.ms")),
                ),
                Panel(
                    "Clues: CPU and loop lag",
                    "% of one core; and ms.",
                    "short",
                    (gauge("clue", "process.cpu_percent"), worst("clue", "loop.lag_ms")),
                ),
            ),
        ),
        Row(
            "4. Clue to Redis",
            (
                Panel("Commands", "Sent by clues, by shard.", "ops", (by_place("clue", "redis.*.commands", "shard"),)),
                Panel(
                    "Failed, and reachable",
                    "Commands that failed or were not sent; 1: the shard answers that clue.",
                    "short",
                    (by_place("clue", "redis.*.errors", "errors of shard"), gauge("clue", "redis.*.up")),
                ),
                Panel(
                    "Time of a pipeline",
                    "There and back, by clue and shard. Slow in one shard: that Redis. Slow in all: that clue.",
                    "ms",
                    (worst("clue", "redis.*.ms"),),
                ),
                Panel(
                    "Redis: core",
                    "% of the one core that a server can use. Over 80: more shards.",
                    "percent",
                    (gauge("clue", "redis.*.core_percent"),),
                ),
            ),
        ),
        Row(
            "5. Clue to exchange",
            (
                Panel("Published", "Commits that exchanges took.", "ops", (per_second("clue", "publish.commits"),)),
                Panel(
                    "Repeated, delayed, dropped",
                    "What no exchange took at first; dropped: edges find it in the log.",
                    "ops",
                    totals(
                        "clue",
                        {"publish.retries": "retries", "publish.delayed": "delayed", "publish.dropped": "dropped"},
                    ),
                ),
                Panel("Time of a call", "To the exchange and back.", "ms", (worst("clue", "publish.ms"),)),
                Panel(
                    "Waiting in clue",
                    "Commits that wait for an exchange.",
                    "short",
                    (gauge("clue", "publish.waiting"),),
                ),
            ),
        ),
        Row(
            "6. Exchange to edge",
            (
                Panel("Delivered", "Messages written to edges.", "ops", (per_second("exchange", "deliveries"),)),
                Panel(
                    "Dropped and redialled",
                    "Full queues and broken links; edges repair from the log.",
                    "ops",
                    totals(
                        "exchange",
                        {
                            "dropped": "dropped",
                            "discarded": "discarded",
                            "redials": "redials",
                            "heartbeats_lost": "silent edges",
                        },
                    ),
                ),
                Panel("Time of a write", "Long: the edge does not take it.", "ms", (worst("exchange", "deliver.ms"),)),
                Panel(
                    "Queue by edge",
                    "Bytes that wait, by exchange and edge. The bound is 16 MiB.",
                    "bytes",
                    (gauge("exchange", "link.*.queue_bytes"),),
                ),
            ),
        ),
        Row(
            "7. Edge to users",
            (
                Panel(
                    "Lines written", "Publications times members.", "ops", (per_second("edge", "broadcast.deliveries"),)
                ),
                Panel(
                    "Skipped and repaired",
                    "Lines not written to members that do not read; entries fetched from the log.",
                    "ops",
                    totals("edge", {"broadcast.skipped": "skipped", "follower.replayed": "repaired"}),
                ),
                Panel(
                    "Delay end to end",
                    "From clue's decision, by clue's clock, until a pass has written the line to all "
                    "members here. Negative, or high on one edge alone: a clock is wrong.",
                    "ms",
                    (mean("edge", "broadcast.delay_ms"), worst("edge", "broadcast.delay_ms")),
                    None,
                ),
                Panel("Edges: CPU", "% of one core, all threads.", "percent", (gauge("edge", "process.cpu_percent"),)),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "Descriptors used",
                    "% of what may be open. An edge refuses users before it is full.",
                    "percent",
                    tuple(share(s, "process.fds", "process.fd_limit") for s in SERVICES),
                ),
                Panel(
                    "Clocks",
                    "Seconds by which a process' clock is ahead of Redis'.",
                    "s",
                    _every("clock.ahead_s"),
                    None,
                ),
                Panel("Memory", "Resident.", "bytes", _every("process.memory_bytes")),
                Panel(
                    "Errors that should not be",
                    "Each has a traceback in the log.",
                    "ops",
                    (per_second("edge", "bugs"), per_second("exchange", "bugs")),
                ),
            ),
        ),
    ),
)

EDGE = Dashboard(
    "tallgrass-edge",
    "Tallgrass: Edge",
    "Sessions, what they send, what they get.",
    (
        Row(
            "Sessions",
            (
                Panel(
                    "By kind",
                    "TCP (TLS included) and WebSocket; with a name and without; those that do not read.",
                    "short",
                    tuple(
                        summed("edge", f"sessions.{kind}", kind.replace("_", " "))
                        for kind in ("tcp", "websocket", "users", "without_user", "slow")
                    ),
                ),
                Panel("By edge", "Open sessions.", "short", (gauge("edge", "sessions"),)),
                Panel("Connections", "Let in, by edge.", "ops", (per_second("edge", "connections"),)),
                Panel("Disconnects", "Ended by us, by reason.", "ops", (by_place("edge", "disconnects.*", "ended"),)),
                Panel("Logins", "By clue's answer.", "ops", (by_place("edge", "logins.*", "login"),)),
                Panel(
                    "Joins",
                    "Carried out, and by clue's answer.",
                    "ops",
                    (total("edge", "joins", "carried out"), by_place("edge", "joins.*", "join")),
                ),
            ),
        ),
        Row(
            "Channels",
            (
                Panel(
                    "Channels",
                    "With a member here; asked for from the exchanges; followed.",
                    "short",
                    (
                        gauge("edge", "channels"),
                        summed("edge", "links.interest", "asked for"),
                        summed("edge", "follower.channels", "followed"),
                    ),
                ),
                Panel(
                    "Largest channels",
                    "Members of the five largest, by edge and rank.",
                    "short",
                    (gauge("edge", "channels.largest.*.members"),),
                ),
            ),
        ),
        Row(
            "Who is there, what was said, private messages",
            (
                Panel(
                    "Presence",
                    "Reports to clue, users told as come or gone; calls that failed, lists that were not whole.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "presence.reports": "reports",
                            "presence.moves": "moves told",
                            "presence.failures": "failed",
                            "names.unavailable": "lists not whole",
                        },
                    ),
                ),
                Panel(
                    "HTTP API",
                    "Requests, answers by status, calls to clue that failed; what clue made of who asked.",
                    "ops",
                    (
                        *totals("edge", {"api.requests": "requests", "api.failures": "failed"}),
                        by_place("edge", "api.answers.*", "answer"),
                        by_place("clue", "requests.*", "caller"),
                        total("clue", "users.unlisted", "users not listed"),
                    ),
                ),
                Panel(
                    "Time of an HTTP API request",
                    "From its head to its answer.",
                    "ms",
                    (mean("edge", "api.ms"), worst("edge", "api.ms")),
                ),
                Panel(
                    "Messages behind moderators",
                    "Shown to moderators first; taken back before others saw them; let out early because too many were "
                    "held.",
                    "ops",
                    totals(
                        "edge",
                        {"delay.held": "held", "delay.dropped": "taken back", "delay.overflows": "let out early"},
                    ),
                ),
                Panel(
                    "History",
                    "Queries of users, reads of a log that served them, reads that failed.",
                    "ops",
                    totals(
                        "edge",
                        {"history.queries": "queries", "history.reads": "reads", "history.failures": "failed"},
                    ),
                ),
                Panel(
                    "Inboxes",
                    "Whispers and personal notices; private channels opened, again, and to users that do not read.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "inbox.delivered": "delivered",
                            "inbox.opened": "opened",
                            "inbox.retries": "opened again",
                            "inbox.skipped": "skipped",
                        },
                    ),
                ),
            ),
        ),
        Row(
            "What users say",
            (
                Panel("Lines taken", "All lines of all users.", "ops", (per_second("edge", "lines"),)),
                Panel("Verdicts", "By what the sender was told.", "ops", (by_place("edge", "verdicts.*", "told"),)),
                Panel(
                    "Batch size",
                    "Messages in one call to clue.",
                    "short",
                    (ratio("edge", "submit.taken", "submit.batches"),),
                ),
                Panel(
                    "Waiting",
                    "Messages that wait for a verdict; how long the oldest of a batch had waited.",
                    "short",
                    (gauge("edge", "submit.waiting"), worst("edge", "submit.queued_ms")),
                ),
                Panel(
                    "Turned away",
                    "Expired in the queue; too many waiting.",
                    "ops",
                    totals("edge", {"submit.expired": "expired", "submit.refused_waiting": "too many waiting"}),
                ),
                Panel(
                    "Followed messages",
                    "Their ways are in the logs (`tallgrass trace`): one in a thousand, and those whose senders ask "
                    "for it, a few a second.",
                    "ops",
                    totals("edge", {"traces": "followed", "traces.refused": "too many asked"}),
                ),
                Panel(
                    "Calls to clue: time",
                    "By call, HAProxy included.",
                    "ms",
                    (gauge("edge", "clue.ms.*.mean"), gauge("edge", "clue.ms.*.max")),
                ),
                Panel(
                    "Calls to clue: failed",
                    "By call.",
                    "ops",
                    (by_place("edge", "clue.errors.*", "failed"), by_place("edge", "clue.retries.*", "repeated")),
                ),
                Panel(
                    "Calls to clue",
                    "By call.",
                    "ops",
                    (f"groupByNode({path('edge', 'clue.ms.*.count', 'rate')}, 6, 'sum')",),
                ),
                Panel(
                    "Time to a verdict",
                    "Mean and longest.",
                    "ms",
                    (mean("edge", "submit.ms"), worst("edge", "submit.ms")),
                ),
            ),
        ),
        Row(
            "What users get",
            (
                Panel(
                    "Lines written", "Publications times members.", "ops", (per_second("edge", "broadcast.deliveries"),)
                ),
                Panel(
                    "Publications and passes",
                    "Divided: what one pass carries.",
                    "ops",
                    totals("edge", {"broadcast.publications": "publications", "broadcast.passes": "passes"}),
                ),
                Panel(
                    "Batch size",
                    "Publications in one pass.",
                    "short",
                    (ratio("edge", "broadcast.publications", "broadcast.passes"),),
                ),
                Panel(
                    "Time of a pass",
                    "One walk over a channel's members.",
                    "ms",
                    (mean("edge", "broadcast.pass_ms"), worst("edge", "broadcast.pass_ms")),
                ),
                Panel(
                    "Delay end to end",
                    "From clue's decision until written.",
                    "ms",
                    (mean("edge", "broadcast.delay_ms"), worst("edge", "broadcast.delay_ms")),
                    None,
                ),
                Panel(
                    "Slow readers",
                    "Members that stopped reading; lines not written to them; gone when a pass came.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "members.slow": "members that stopped",
                            "broadcast.skipped": "lines skipped",
                            "broadcast.closed": "members gone",
                        },
                    ),
                ),
            ),
        ),
        Row(
            "The process",
            (
                Panel(
                    "Loop lag",
                    "How late the loop calls back.",
                    "ms",
                    (mean("edge", "loop.lag_ms"), worst("edge", "loop.lag_ms")),
                ),
                Panel(
                    "Collector pauses",
                    "Longest, and how many.",
                    "short",
                    (worst("edge", "gc.pause_ms"), f"aliasByNode({path('edge', 'gc.pause_ms.count', 'rate')}, 3)"),
                ),
                Panel("CPU", "% of one core.", "percent", (gauge("edge", "process.cpu_percent"),)),
                Panel(
                    "Descriptors",
                    "Open, and the limit.",
                    "short",
                    (gauge("edge", "process.fds"), gauge("edge", "process.fd_limit")),
                ),
                Panel("Memory", "Resident.", "bytes", (gauge("edge", "process.memory_bytes"),)),
                Panel(
                    "TLS certificate",
                    "Days until it expires; below 0 clients refuse it.",
                    "d",
                    (gauge("edge", "tls.days_left"),),
                    None,
                ),
                Panel(
                    "Errors that should not be",
                    "Each has a traceback in the log.",
                    "ops",
                    (per_second("edge", "bugs"),),
                ),
            ),
        ),
    ),
)

CLUE = Dashboard(
    "tallgrass-clue-redis",
    "Tallgrass: Clue & Redis",
    "What is decided, and the shards that hold it.",
    (
        Row(
            "Messages",
            (
                Panel(
                    "Taken",
                    "Messages, and batches of them.",
                    "ops",
                    totals("clue", {"submissions": "messages", "submits": "batches"}),
                ),
                Panel("Batch size", "Messages in one batch.", "short", (ratio("clue", "submissions", "submits"),)),
                Panel("Allowed", "In the log, by clue.", "ops", (per_second("clue", "allowed"),)),
                Panel("Denied", "By reason.", "ops", (by_place("clue", "denied.*", "denied"),)),
                Panel(
                    "Undecided",
                    "A shard did not answer; given up by its edge.",
                    "ops",
                    totals("clue", {"unavailable": "unavailable", "superseded": "superseded"}),
                ),
                Panel(
                    "Again",
                    "Batches that came again; that were committed already; decided again.",
                    "ops",
                    totals(
                        "clue",
                        {
                            "submits.retried": "retried",
                            "repeats": "committed already",
                            "stale": "stale",
                            "limits.unchecked": "limits unchecked",
                            "replies.orphaned": "replies to what has left the log",
                        },
                    ),
                ),
                Panel(
                    "Time",
                    "Until it is in the log; until it is answered.",
                    "ms",
                    (
                        mean("clue", "submit.decide_ms"),
                        worst("clue", "submit.decide_ms"),
                        mean("clue", "submit.ms"),
                        worst("clue", "submit.ms"),
                    ),
                ),
            ),
        ),
        Row(
            "Users and channels",
            (
                Panel(
                    "Logins",
                    "By outcome.",
                    "ops",
                    (total("clue", "logins", "all"), by_place("clue", "logins.*", "login")),
                ),
                Panel(
                    "Joins", "By outcome.", "ops", (total("clue", "joins", "all"), by_place("clue", "joins.*", "join"))
                ),
                Panel(
                    "Changes",
                    "Of roles and bans; decided again.",
                    "ops",
                    totals("clue", {"changes": "written", "changes.stale": "stale"}),
                ),
                Panel(
                    "Presence",
                    "Reports of edges; shards that did not answer them.",
                    "ops",
                    totals("clue", {"presence.reports": "reports", "presence.failures": "failed"}),
                ),
                Panel("Channels remembered", "In the cache of each clue.", "short", (gauge("clue", "channels"),)),
            ),
        ),
        Row(
            "Redis",
            (
                Panel("Commands", "Sent by clues, by shard.", "ops", (by_place("clue", "redis.*.commands", "shard"),)),
                Panel(
                    "Commands carried out",
                    "As the servers count, for everybody.",
                    "ops",
                    (gauge("clue", "redis.*.commands_per_s"),),
                ),
                Panel(
                    "Core",
                    "% of the one core that a server can use.",
                    "percent",
                    (gauge("clue", "redis.*.core_percent"),),
                ),
                Panel(
                    "Time of a pipeline",
                    "There and back, by clue and shard.",
                    "ms",
                    (gauge("clue", "redis.*.ms.mean"), gauge("clue", "redis.*.ms.max")),
                ),
                Panel(
                    "Time of a script",
                    "As the servers measure it, on average.",
                    "µs",
                    (gauge("clue", "redis.*.script_us"),),
                ),
                Panel("Failed", "Commands, by shard.", "ops", (by_place("clue", "redis.*.errors", "errors of shard"),)),
                Panel(
                    "Answers",
                    "1: the shard answers that clue and is this cluster's.",
                    "bool_on_off",
                    (gauge("clue", "redis.*.up"),),
                ),
                Panel(
                    "Connections",
                    "To each server; and those that are not of this cluster's services.",
                    "short",
                    (gauge("clue", "redis.*.clients"), gauge("clue", "redis.*.foreign_clients")),
                ),
                Panel("Memory", "That the data takes.", "bytes", (gauge("clue", "redis.*.memory_bytes"),)),
            ),
        ),
        Row(
            "The process",
            (
                Panel(
                    "Loop lag",
                    "How late the loop calls back.",
                    "ms",
                    (mean("clue", "loop.lag_ms"), worst("clue", "loop.lag_ms")),
                ),
                Panel(
                    "Collector pauses",
                    "Longest, and how many.",
                    "short",
                    (worst("clue", "gc.pause_ms"), f"aliasByNode({path('clue', 'gc.pause_ms.count', 'rate')}, 3)"),
                ),
                Panel("CPU", "% of one core.", "percent", (gauge("clue", "process.cpu_percent"),)),
            ),
        ),
    ),
)

DISTRIBUTION = Dashboard(
    "tallgrass-distribution",
    "Tallgrass: Exchange & distribution",
    "From the log to every edge: publishing, links, holes and their repair.",
    (
        Row(
            "Clue to exchange",
            (
                Panel(
                    "Published",
                    "Commits, and calls that carried them.",
                    "ops",
                    totals("clue", {"publish.commits": "commits", "publish.calls": "calls"}),
                ),
                Panel(
                    "Batch size", "Commits in one call.", "short", (ratio("clue", "publish.commits", "publish.calls"),)
                ),
                Panel(
                    "Time of a call",
                    "Mean and longest.",
                    "ms",
                    (mean("clue", "publish.ms"), worst("clue", "publish.ms")),
                ),
                Panel(
                    "Not at once",
                    "Retries; senders answered before an exchange had it; given up.",
                    "ops",
                    totals(
                        "clue",
                        {"publish.retries": "retries", "publish.delayed": "delayed", "publish.dropped": "dropped"},
                    ),
                ),
                Panel("Waiting", "Commits, by clue.", "short", (gauge("clue", "publish.waiting"),)),
            ),
        ),
        Row(
            "Exchange",
            (
                Panel(
                    "Taken",
                    "Calls, and channels in them; those that no edge wants.",
                    "ops",
                    totals(
                        "exchange",
                        {"publishes": "calls", "published_channels": "channels", "published_unwanted": "unwanted"},
                    ),
                ),
                Panel(
                    "Written",
                    "Messages to edges, and channels in them.",
                    "ops",
                    totals("exchange", {"deliveries": "messages", "delivered_pieces": "channels"}),
                ),
                Panel(
                    "Bytes",
                    "Taken and written.",
                    "Bps",
                    totals("exchange", {"published_bytes": "taken", "delivered_bytes": "written"}),
                ),
                Panel(
                    "Time of a write",
                    "Mean and longest.",
                    "ms",
                    (mean("exchange", "deliver.ms"), worst("exchange", "deliver.ms")),
                ),
                Panel(
                    "Queues",
                    "Bytes that wait: all, the longest, by edge.",
                    "bytes",
                    (
                        gauge("exchange", "queue_bytes"),
                        gauge("exchange", "queue_bytes_max"),
                        gauge("exchange", "link.*.queue_bytes"),
                    ),
                ),
                Panel(
                    "Not confirmed",
                    "Messages sent that the edge has not confirmed: furthest behind, by edge.",
                    "short",
                    (gauge("exchange", "unapplied_max"), gauge("exchange", "link.*.unapplied")),
                ),
                Panel(
                    "Lost on the way",
                    "Dropped from full queues; discarded with a broken link. Edges repair.",
                    "ops",
                    totals("exchange", {"dropped": "dropped", "discarded": "discarded"}),
                ),
                Panel("Channels wanted", "By exchange.", "short", (gauge("exchange", "channels"),)),
            ),
        ),
        Row(
            "Links",
            (
                Panel(
                    "Edges",
                    "Linked, and known.",
                    "short",
                    (gauge("exchange", "links"), gauge("exchange", "edges_known")),
                ),
                Panel(
                    "As the exchange sees it",
                    "1: that edge is delivered to.",
                    "bool_on_off",
                    (gauge("exchange", "link.*.up"),),
                ),
                Panel(
                    "As the edge sees it",
                    "1: that exchange delivers; and how many do.",
                    "short",
                    (gauge("edge", "link.*.up"), gauge("edge", "links.up")),
                ),
                Panel(
                    "Since last heard",
                    "By edge and exchange; over 3 s is called silent.",
                    "s",
                    (gauge("edge", "link.*.silent_s"),),
                ),
                Panel(
                    "Up and down",
                    "Streams begun, ended, dialled again; silent edges.",
                    "ops",
                    totals(
                        "exchange",
                        {
                            "links_up": "up",
                            "links_down": "down",
                            "redials": "redials",
                            "heartbeats_lost": "silent edges",
                            "directory_failures": "directory failures",
                        },
                    ),
                ),
                Panel(
                    "The edges' side",
                    "Streams begun, ended, replaced; silent exchanges; strangers.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "links.opened": "opened",
                            "links.closed": "closed",
                            "links.replaced": "replaced",
                            "links.silent": "silent",
                            "links.without_hello": "strangers",
                        },
                    ),
                ),
                Panel(
                    "Taken by edges",
                    "Messages; pieces that a full queue has lost.",
                    "ops",
                    totals("edge", {"links.deliveries": "messages", "links.dropped": "dropped by exchanges"}),
                ),
            ),
        ),
        Row(
            "Order and repair",
            (
                Panel(
                    "Handed on", "Publications, in the log's order.", "ops", (per_second("edge", "follower.delivered"),)
                ),
                Panel(
                    "Holes",
                    "Found, never filled; with a repair under way.",
                    "short",
                    (
                        total("edge", "follower.holes", "found"),
                        total("edge", "follower.losses", "never filled"),
                        total("edge", "follower.jumps", "log went back"),
                        summed("edge", "follower.repairs", "under repair"),
                    ),
                ),
                Panel(
                    "Oldest hole",
                    "Seconds. Over 5 s: clue or its shard does not answer.",
                    "s",
                    (gauge("edge", "follower.oldest_hole_s"),),
                ),
                Panel(
                    "Fetched from the log",
                    "Pages, entries, failures.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "follower.replays": "pages",
                            "follower.replayed": "entries",
                            "follower.replay_failures": "failures",
                        },
                    ),
                ),
                Panel(
                    "Heads",
                    "Compared with the log; behind it; before it; not known.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "follower.heads_compared": "compared",
                            "follower.heads_behind": "behind",
                            "follower.heads_lower": "before",
                            "follower.heads_unknown": "unknown",
                        },
                    ),
                ),
                Panel(
                    "Degraded",
                    "1: an exchange that should deliver does not; heads are polled.",
                    "bool_on_off",
                    (gauge("edge", "follower.degraded"),),
                ),
                Panel(
                    "Not used",
                    "Repeats, early ones given up, unreadable ones, of channels that nobody wants.",
                    "ops",
                    totals(
                        "edge",
                        {
                            "follower.repeats": "repeats",
                            "follower.overflowed": "overflowed",
                            "follower.undecodable": "unreadable",
                            "follower.strays": "strays",
                            "follower.unconfirmed": "opened unconfirmed",
                            "follower.withdrawn": "withdrawn",
                        },
                    ),
                ),
            ),
        ),
        Row(
            "The process",
            (
                Panel(
                    "Loop lag",
                    "How late the loop calls back.",
                    "ms",
                    (mean("exchange", "loop.lag_ms"), worst("exchange", "loop.lag_ms")),
                ),
                Panel(
                    "Collector pauses",
                    "Longest, and how many.",
                    "short",
                    (
                        worst("exchange", "gc.pause_ms"),
                        f"aliasByNode({path('exchange', 'gc.pause_ms.count', 'rate')}, 3)",
                    ),
                ),
                Panel("CPU", "% of one core.", "percent", (gauge("exchange", "process.cpu_percent"),)),
                Panel(
                    "Errors that should not be",
                    "Each has a traceback in the log.",
                    "ops",
                    (per_second("exchange", "bugs"),),
                ),
            ),
        ),
    ),
)

LOAD = Dashboard(
    "tallgrass-load",
    "Tallgrass: Load test",
    "What to watch while load runs: how much, how late, who is full. And what `tallgrass verify` found.",
    (
        Row(
            "Load",
            (
                Panel("Sessions", "All edges.", "short", (summed("edge", "sessions", "sessions"),)),
                Panel(
                    "Connections, logins, joins",
                    "All edges.",
                    "ops",
                    (
                        total("edge", "connections", "connections"),
                        total("edge", "logins.accepted", "logins"),
                        total("edge", "joins", "joins"),
                    ),
                ),
                Panel(
                    "Messages",
                    "Sent to clue, allowed, delivered to edges.",
                    "ops",
                    (
                        total("edge", "submit.taken", "sent"),
                        total("clue", "allowed", "allowed"),
                        total("edge", "follower.delivered", "taken by edges"),
                    ),
                ),
                Panel("Lines written to users", "All edges.", "ops", (total("edge", "broadcast.deliveries", "lines"),)),
            ),
        ),
        Row(
            "How late",
            (
                Panel("Verdict", "Longest of each second.", "ms", (worst("edge", "submit.ms"),)),
                Panel("End to end", "Longest of each second.", "ms", (worst("edge", "broadcast.delay_ms"),), None),
                Panel("Loop lag", "All services.", "ms", _every("loop.lag_ms", "max")),
            ),
        ),
        Row(
            "Who is full",
            (
                Panel("CPU", "% of one core.", "percent", _every("process.cpu_percent")),
                Panel("Redis core", "% of one core.", "percent", (gauge("clue", "redis.*.core_percent"),)),
                Panel("Memory", "Resident.", "bytes", _every("process.memory_bytes")),
                Panel("Descriptors", "Open.", "short", _every("process.fds")),
            ),
        ),
        Row(
            "tallgrass verify",
            (
                Panel(
                    "Status",
                    "Exit status of the last run, by channel; 0: all is well.",
                    "short",
                    (f"aliasByNode(keepLastValue({path('verify', 'status')}), 3)",),
                ),
                Panel(
                    "Wrong",
                    "Allowed but not in the log; without an answer; missing, repeated or out of order on an edge.",
                    "short",
                    (
                        gauge("verify", "allowed_not_logged"),
                        gauge("verify", "unanswered"),
                        gauge("verify", "*.missing"),
                        gauge("verify", "*.repeated"),
                        gauge("verify", "*.out_of_order"),
                    ),
                ),
                Panel(
                    "Delay",
                    "From posting to reading, by edge.",
                    "ms",
                    (
                        gauge("verify", "*.delay_p50_ms"),
                        gauge("verify", "*.delay_p99_ms"),
                        gauge("verify", "*.delay_max_ms"),
                    ),
                ),
                Panel("Edges that could be read", "1: yes.", "bool_on_off", (gauge("verify", "*.readable"),)),
            ),
        ),
    ),
)

CLUSTERS = Dashboard(
    "tallgrass-clusters",
    "Tallgrass: Clusters & moves",
    "Where channels live, channels that change their home, edges that serve other clusters, that come and that leave.",
    (
        Row(
            "Homes",
            (
                Panel(
                    "Away from home",
                    "Channels that do not live where their name says, as each edge knows; those that an edge heard of "
                    "before the directory told. The first differ for long: an edge does not reach clue.",
                    "short",
                    (gauge("edge", "homes.listed"), summed("edge", "homes.corrections", "known before the directory")),
                ),
                Panel(
                    "Asked at the wrong place",
                    "Answers of clues that a channel lives elsewhere, by call: a few after a move. Without end: an "
                    "edge and a clue disagree.",
                    "ops",
                    (by_place("edge", "homes.elsewhere.*", "asked"), total("edge", "homes.settles", "settled")),
                ),
                Panel(
                    "Followed to another home",
                    "Channels whose edges read on at their new home.",
                    "ops",
                    (per_second("edge", "follower.rehomed"),),
                ),
            ),
        ),
        Row(
            "The shared directory",
            (
                Panel(
                    "There",
                    "0: moves and new accounts wait, all else goes on.",
                    "bool_on_off",
                    (gauge("clue", "directory.up"),),
                ),
                Panel(
                    "Listed homes",
                    "Channels that do not live where their name says, as each clue knows.",
                    "short",
                    (gauge("clue", "homes"),),
                ),
                Panel(
                    "Accounts",
                    "Copied here; not found because the directory did not answer; told to it later.",
                    "ops",
                    totals(
                        "clue",
                        {
                            "accounts.brought": "copied",
                            "accounts.not_brought": "not answered",
                            "accounts.pushed": "told",
                        },
                    ),
                ),
            ),
        ),
        Row(
            "Moves",
            (
                Panel(
                    "Steps that count",
                    "Channels that left and that came, moves given up.",
                    "ops",
                    totals("clue", {"moves.away": "left", "moves.here": "came", "moves.aborted": "given up"}),
                ),
                Panel(
                    "Messages that a move touched",
                    "Those sent back to be sent to the new home; batches that waited for the last moment of a move.",
                    "ops",
                    totals("clue", {"moved": "sent back", "frozen": "waited"}),
                ),
                Panel(
                    "To other clusters' logs",
                    "Whispers, notices, raids: calls, those that failed, notices given up.",
                    "ops",
                    totals("clue", {"posts": "calls", "posts.failed": "failed", "posts.given_up": "given up"}),
                ),
                Panel(
                    "Told to edges",
                    "Moves that edges have read in the channels' logs.",
                    "ops",
                    (per_second("edge", "moves.told"),),
                ),
                Panel(
                    "Messages sent on",
                    "To the new home: those that were on their way. More than the moment's: see the wrong place above.",
                    "ops",
                    (per_second("edge", "moves.redirected"),),
                ),
                Panel(
                    "Sessions asked to follow",
                    "RECONNECT because of a move.",
                    "ops",
                    (per_second("edge", "moves.reconnects"),),
                ),
            ),
        ),
        Row(
            "Guests",
            (
                Panel(
                    "Clusters that deliver here",
                    "Besides the edge's own.",
                    "short",
                    (gauge("edge", "guests.clusters"),),
                ),
                Panel(
                    "Links by cluster",
                    "1: an exchange of that cluster does not deliver to the edge; its channels are polled.",
                    "bool_on_off",
                    (gauge("edge", "cluster.*.degraded"),),
                ),
                Panel(
                    "Registered as guest",
                    "Calls to clues of other clusters, every 2 s each; and calls for a directory that failed.",
                    "ops",
                    (
                        total("edge", "guests.registrations", "taken"),
                        total("edge", "directory_failures", "failed, edges"),
                        total("exchange", "directory_failures", "failed, exchanges"),
                    ),
                ),
            ),
        ),
        Row(
            "Edges that fill and that leave",
            (
                Panel(
                    "Weight",
                    "Of the share of new users that an idle edge would get, as HAProxy is told; 0: none.",
                    "percent",
                    (gauge("edge", "agent.weight"),),
                ),
                Panel(
                    "Asked by HAProxy",
                    "Agent-checks, one a second of each HAProxy. None: HAProxy does not know the edge.",
                    "ops",
                    (per_second("edge", "agent.checks"),),
                ),
                Panel(
                    "Drains",
                    "1: the edge takes no new users; and what operators ordered.",
                    "short",
                    (gauge("edge", "drain.active"), total("edge", "drain.orders", "orders")),
                ),
                Panel(
                    "Sessions of drains",
                    "Asked to reconnect; closed because they did not.",
                    "ops",
                    totals("edge", {"drain.asked": "asked", "drain.closed": "closed"}),
                ),
            ),
        ),
        Row(
            "Temporary rooms",
            (
                Panel(
                    "Asked for",
                    "By outcome: created, exists (join it), refused, unavailable; and users let in.",
                    "ops",
                    (by_place("edge", "rooms.*", "rooms"), total("edge", "rooms.invited", "invited")),
                ),
                Panel(
                    "Made and ended",
                    "As clue counts them, by outcome.",
                    "ops",
                    (by_place("clue", "rooms.*", "rooms"), total("clue", "rooms.ended", "ended")),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, EDGE, CLUE, DISTRIBUTION, CLUSTERS, LOAD)
