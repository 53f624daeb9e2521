"""Every metric that a service sends: the page docs/metrics.md and the dashboards' tests are made from this list.

A name may hold places in braces, which stand for one or more parts: `disconnects.{reason}`. In Graphite (see
deploy/statsd/config.js) a counter is found as NAME.rate, per second, and NAME.count; a gauge as NAME; a timing as
NAME.mean, NAME.max (of each second, in milliseconds) and NAME.count.rate.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

PLACES = re.compile(r"\{\w*\}")


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    TIMING = "timing"


@dataclass(frozen=True, slots=True)
class Metric:
    service: str  # edge, clue, exchange, verify; "every": each of the first three
    name: str
    kind: Kind
    unit: str
    meaning: str

    def matches(self, name: str) -> bool:
        """`name` is this metric, without tallgrass.<cluster>.<service>.<instance>."""
        return self._pattern().fullmatch(name) is not None

    def _pattern(self) -> re.Pattern[str]:
        parts = PLACES.split(self.name)
        return re.compile("[^ ]+".join(map(re.escape, parts)))


def _of(service: str, *rows: tuple[str, Kind, str, str]) -> tuple[Metric, ...]:
    return tuple(Metric(service, *row) for row in rows)


_C, _G, _T = Kind.COUNTER, Kind.GAUGE, Kind.TIMING

CATALOGUE: tuple[Metric, ...] = (
    *_of(
        "every",
        ("gc.pause_ms", _T, "ms", "the collector stopped everything for so long"),
        ("loop.lag_ms", _T, "ms", "how late the event loop called back: over 50 the process has more than it can do"),
        ("clock.ahead_s", _G, "s", "this process' clock is ahead of Redis' (below 0: behind); a call's time is in it"),
        ("process.cpu_percent", _G, "% of one core", "CPU of all threads since the last flush"),
        ("process.fd_limit", _G, "descriptors", "the most that may be open"),
        ("process.fds", _G, "descriptors", "open now: sockets, files"),
        ("process.memory_bytes", _G, "bytes", "resident memory"),
    ),
    *_of(
        "edge",
        ("agent.checks", _C, "checks", "of HAProxys that asked how many new users we take"),
        ("agent.weight", _G, "%", "of the share of new users that an idle edge would get; 0: none"),
        ("api.answers.{class}", _C, "answers", "of the HTTP API, by class of status: 2xx, 4xx, 5xx"),
        ("api.failures", _C, "calls", "to clue for the HTTP API that failed; who asked was told"),
        ("api.ms", _T, "ms", "of an HTTP API request, from its head to its answer"),
        ("api.requests", _C, "requests", "to the HTTP API"),
        ("broadcast.closed", _C, "members", "were gone when a pass came to them"),
        ("broadcast.delay_ms", _T, "ms",
         "end to end: from clue's decision (its clock) until a pass has written the line to all members here"),
        ("broadcast.deliveries", _C, "lines", "publications times members: what was written to users"),
        ("broadcast.pass_ms", _T, "ms", "CPU that one walk over a channel's members took"),
        ("broadcast.passes", _C, "passes", "walks over a channel's members; each carries what came since the last"),
        ("broadcast.publications", _C, "publications", "in those passes; divided by passes: the batch size"),
        ("broadcast.skipped", _C, "lines", "not written to members that do not read"),
        ("bugs", _C, "errors", "that should not be: a repair or a pass failed; the log has a traceback"),
        ("channels", _G, "channels", "with a member here"),
        ("channels.largest.{rank}.members", _G, "members", "of the five largest channels here, by rank"),
        ("clue.errors.{operation}", _C, "calls", "to clue that failed; the log line call_failed says why"),
        ("clue.ms.{operation}", _T, "ms", "one call to clue, HAProxy included"),
        ("clue.retries.{operation}", _C, "calls", "repeated because the one before failed"),
        ("cluster.{cluster}.degraded", _G, "0 or 1",
         "an exchange of that cluster does not deliver here: its channels are polled"),
        ("connections", _C, "connections", "let in"),
        ("delay.dropped", _C, "messages", "taken back while only moderators had seen them"),
        ("delay.held", _C, "messages", "shown to moderators first"),
        ("delay.overflows", _C, "messages", "shown before their time because too many were held"),
        ("directory_failures", _C, "calls", "to clue for a directory that failed, of all clusters"),
        ("disconnects.{reason}", _C, "sessions", "ended by this edge, by reason (edge/disconnect.py)"),
        ("drain.active", _G, "0 or 1", "no new users are taken"),
        ("drain.asked", _C, "sessions", "asked to reconnect because this edge is emptied"),
        ("drain.closed", _C, "sessions", "that did not go by themselves, and were closed"),
        ("drain.orders", _C, "orders", "of operators to empty this edge, or to take users again"),
        ("follower.channels", _G, "channels", "followed: with members, or with members a moment ago"),
        ("follower.degraded", _G, "0 or 1", "an exchange that should deliver does not: heads are polled"),
        ("follower.delivered", _C, "publications", "handed on in the log's order"),
        ("follower.heads_behind", _C, "channels", "the log was ahead of us when compared"),
        ("follower.heads_compared", _C, "channels", "compared with their log"),
        ("follower.heads_lower", _C, "channels", "the log was behind us: normal under load"),
        ("follower.heads_unknown", _C, "channels", "could not be compared: their shard did not answer"),
        ("follower.holes", _C, "holes", "found in a channel's sequence"),
        ("follower.jumps", _C, "jumps", "the log went on before what was delivered here: its shard lost entries"),
        ("follower.losses", _C, "holes", "never filled: the entries had left the log. Readers missed lines"),
        ("follower.oldest_hole_s", _G, "s", "age of the oldest hole that is not filled yet"),
        ("follower.overflowed", _C, "entries", "early ones given up because too many were held; fetched again"),
        ("follower.rehomed", _C, "channels", "followed here that have another home now"),
        ("follower.repairs", _G, "channels", "with a repair under way"),
        ("follower.repeats", _C, "entries", "dropped because they were here already: retries and a second exchange"),
        ("follower.replay_failures", _C, "calls", "for a page of the log that failed"),
        ("follower.replayed", _C, "entries", "fetched from the log"),
        ("follower.replays", _C, "pages", "of the log fetched"),
        ("follower.strays", _C, "channels", "delivered although nobody here wants them any more"),
        ("follower.unconfirmed", _C, "channels", "opened before every link had confirmed"),
        ("follower.undecodable", _C, "entries", "that are no protobuf: another version, or a broken one"),
        ("follower.withdrawn", _C, "channels", "nobody had wanted for a while"),
        ("guests.clusters", _G, "clusters", "besides our own whose exchanges deliver here"),
        ("guests.registrations", _C, "calls", "taken by clues of other clusters"),
        ("history.failures", _C, "reads", "of a channel's log that failed"),
        ("history.queries", _C, "queries", "of users for what was said before they came"),
        ("history.reads", _C, "reads", "of a channel's log for them; one serves all who ask in the same second"),
        ("homes.corrections", _G, "channels", "whose home a clue has told before the directory"),
        ("homes.elsewhere.{operation}", _C, "answers", "of clues where the channel does not live (any more)"),
        ("homes.listed", _G, "channels", "that do not live where their name says"),
        ("homes.settles", _C, "calls", "that made sure that a move is complete"),
        ("inbox.delivered", _C, "messages", "whispers and personal notices handed to their users"),
        ("inbox.opened", _C, "users", "whose private channel is followed"),
        ("inbox.retries", _C, "openings", "of private channels that failed and were repeated"),
        ("inbox.skipped", _C, "messages", "not written to users that do not read"),
        ("joins", _C, "joins", "carried out"),
        ("joins.{outcome}", _C, "joins", "answered by clue, by outcome"),
        ("lines", _C, "lines", "taken from users, PONG and all"),
        ("link.{exchange}.silent_s", _G, "s", "since that exchange was last heard; it sends each second"),
        ("link.{exchange}.up", _G, "0 or 1", "that exchange delivers to us"),
        ("links.closed", _C, "streams", "ended"),
        ("links.deliveries", _C, "messages", "taken from exchanges, heartbeats included"),
        ("links.dropped", _C, "deliveries", "that an exchange's full queue for us has lost; repaired from the log"),
        ("links.interest", _G, "channels", "that we have asked exchanges for"),
        ("links.opened", _C, "streams", "begun"),
        ("links.replaced", _C, "streams", "whose exchange dialled again before we noticed the end"),
        ("links.silent", _C, "exchanges", "whose heartbeats stopped while the stream stayed"),
        ("links.up", _G, "streams", "over which deliveries come"),
        ("links.without_hello", _C, "streams", "of strangers: no hello came"),
        ("logins.{outcome}", _C, "logins", "answered by clue, by outcome"),
        ("members.slow", _C, "members", "that stopped reading"),
        ("moves.reconnects", _C, "sessions", "asked to reconnect because their channel has moved"),
        ("moves.redirected", _C, "messages", "sent on to their channel's new home"),
        ("moves.told", _C, "moves", "of channels, read in their logs"),
        ("names.unavailable", _C, "queries", "for who is in a channel that were answered with less than all"),
        ("presence.failures", _C, "calls", "to clue with who is where that failed; sent again"),
        ("presence.moves", _C, "users", "told as having come or gone"),
        ("presence.reports", _C, "calls", "to clue with who is where"),
        ("rooms.invited", _C, "users", "let into temporary rooms"),
        ("rooms.unavailable", _C, "requests", "about temporary rooms over HTTP that clue did not answer"),
        ("rooms.{outcome}", _C, "rooms", "asked for over HTTP, by outcome"),
        ("sessions", _G, "sessions", "open"),
        ("sessions.slow", _G, "sessions", "that do not read now"),
        ("sessions.tcp", _G, "sessions", "over TCP, TLS included"),
        ("sessions.users", _G, "sessions", "with a name"),
        ("sessions.websocket", _G, "sessions", "over WebSocket"),
        ("sessions.without_user", _G, "sessions", "anonymous, or not logged in yet"),
        ("submit.batches", _C, "batches", "of messages sent to clue"),
        ("submit.expired", _C, "messages", "that waited too long here to be sent; their senders were told"),
        ("submit.ms", _T, "ms", "from a batch's first try until all of it is decided"),
        ("submit.queued_ms", _T, "ms", "that the oldest message of a batch had waited for the batch before"),
        ("submit.refused_waiting", _C, "messages", "refused because too many of their channel wait"),
        ("submit.taken", _C, "messages", "sent to clue; divided by batches: the batch size"),
        ("submit.waiting", _G, "messages", "that wait for their verdict"),
        ("tls.days_left", _G, "days", "until the certificate expires; clients refuse an expired one"),
        ("traces", _C, "messages", "followed over all hops (`tallgrass trace`): one in a thousand, and requested ones"),
        ("traces.refused", _C, "messages", "whose senders wanted them followed, and too many did"),
        ("verdicts.{outcome}", _C, "messages", "by what their senders were told; unavailable: nobody could say"),
    ),
    *_of(
        "clue",
        ("accounts.brought", _C, "accounts", "copied from the shared directory: new here, or changed elsewhere"),
        ("accounts.not_brought", _C, "accounts", "asked for while the shared directory did not answer"),
        ("accounts.pushed", _C, "accounts", "told to the shared directory, of what was done here without it"),
        ("allowed", _C, "messages", "in the log"),
        ("changes", _C, "changes", "of roles, bans, modes and words that operators made"),
        ("changes.stale", _C, "changes", "decided again because another came between"),
        ("channels", _G, "channels", "whose state is remembered"),
        ("commands", _C, "commands", "slash commands carried out or answered"),
        ("denied.{reason}", _C, "messages", "by the reason that the sender was told"),
        ("directory.up", _G, "0 or 1", "the directory that clusters share answered lately"),
        ("frozen", _C, "channels of batches", "that waited for the last moment of a move"),
        ("homes", _G, "channels", "that do not live where their name says, as the directory has them"),
        ("joins", _C, "joins", "asked for"),
        ("joins.limited", _C, "joins", "refused because their user asked for too many; among those denied"),
        ("joins.{outcome}", _C, "joins", "by outcome"),
        ("limits.unchecked", _C, "messages", "let through unchecked: the shard with the rate limits did not answer"),
        ("logins", _C, "logins", "asked for"),
        ("logins.{outcome}", _C, "logins", "by outcome"),
        ("moved", _C, "messages", "sent back undecided: their channel lives on another cluster"),
        ("moves.aborted", _C, "moves", "given up before the switch"),
        ("moves.away", _C, "moves", "of channels that left this cluster"),
        ("moves.here", _C, "moves", "of channels that came to this cluster"),
        ("posts", _C, "calls", "to clues of other clusters with entries of logs there: whispers, notices, raids"),
        ("posts.failed", _C, "calls", "of those that were not taken; senders of whispers and raids were told"),
        ("posts.given_up", _C, "notices", "to other clusters that are lost: nobody waits for them"),
        ("presence.failures", _C, "shards", "that did not answer when edges' reports were written or read"),
        ("presence.reports", _C, "reports", "of edges on who is where"),
        ("publish.calls", _C, "calls", "taken by an exchange"),
        ("publish.commits", _C, "commits", "in those calls; divided by calls: the batch size"),
        ("publish.delayed", _C, "messages", "whose sender was answered before an exchange had them"),
        ("publish.dropped", _C, "commits", "that no exchange took in time; edges find them in the log"),
        ("publish.ms", _T, "ms", "one call to an exchange, HAProxy included"),
        ("publish.retries", _C, "calls", "to an exchange that failed and were repeated"),
        ("publish.waiting", _G, "commits", "that wait for an exchange"),
        ("redis.{shard}.clients", _G, "connections", "that the server has"),
        ("redis.{shard}.commands", _C, "commands", "sent by this clue"),
        ("redis.{shard}.commands_per_s", _G, "commands/s", "carried out by the server for everybody"),
        ("redis.{shard}.core_percent", _G, "% of one core", "that the server uses; it has one"),
        ("redis.{shard}.errors", _C, "commands", "that failed or could not be sent"),
        ("redis.{shard}.foreign_clients", _G, "connections", "to the server that are not of this cluster's services"),
        ("redis.{shard}.memory_bytes", _G, "bytes", "that the server's data takes"),
        ("redis.{shard}.ms", _T, "ms", "one pipeline, there and back"),
        ("redis.{shard}.script_us", _G, "µs", "a script ran, on average, as the server measured it"),
        ("redis.{shard}.up", _G, "0 or 1", "the server answers this clue, and is this cluster's"),
        ("repeats", _C, "channels of batches", "that were committed already: the answer was recalled"),
        ("replies.orphaned", _C, "messages", "allowed as ordinary ones: what they answer had left the log"),
        ("requests.{outcome}", _C, "requests", "to the HTTP API, by whether they were let in"),
        ("rooms.ended", _C, "rooms", "temporary ones that ended, empty for long enough"),
        ("rooms.{outcome}", _C, "rooms", "asked for, by outcome"),
        ("stale", _C, "channels of batches", "decided again because the channel's state had changed"),
        ("submissions", _C, "messages", "taken from edges"),
        ("submit.decide_ms", _T, "ms", "from a batch's arrival until it is in the log"),
        ("submit.ms", _T, "ms", "from a batch's arrival until it is answered, the exchange's confirmation included"),
        ("submits", _C, "batches", "taken from edges; submissions divided by it: the batch size"),
        ("submits.retried", _C, "batches", "that came again"),
        ("superseded", _C, "messages", "of batches that their edge had given up already"),
        ("unavailable", _C, "messages", "not decided: a shard did not answer"),
        ("users.unlisted", _C, "users", "whose id could not be listed: the HTTP API finds them by login first"),
    ),
    *_of(
        "exchange",
        ("bugs", _C, "errors", "that should not be: a link failed; the log has a traceback"),
        ("channels", _G, "channels", "that some edge wants"),
        ("deliver.ms", _T, "ms", "one write to an edge's stream; long: that edge does not take it"),
        ("delivered_bytes", _C, "bytes", "written to edges"),
        ("delivered_pieces", _C, "pieces", "in those messages: one channel's entries each"),
        ("deliveries", _C, "messages", "written to edges, heartbeats included"),
        ("directory_failures", _C, "calls", "to clue for the directory that failed"),
        ("discarded", _C, "pieces", "queued for a link that broke; the edge finds them in the log"),
        ("dropped", _C, "pieces", "the oldest of a full queue; the edge is told and finds them in the log"),
        ("edges_known", _G, "edges", "dialled or linked"),
        ("heartbeats_lost", _C, "links", "given up because their edge was silent"),
        ("link.{edge}.queue_bytes", _G, "bytes", "that wait for that edge"),
        ("link.{edge}.unapplied", _G, "messages", "sent that the edge has not confirmed yet"),
        ("link.{edge}.up", _G, "0 or 1", "that edge has told its interest and is delivered to"),
        ("links", _G, "edges", "delivered to"),
        ("links_down", _C, "links", "that ended"),
        ("links_up", _C, "links", "that came up"),
        ("published_bytes", _C, "bytes", "of entries taken from clue"),
        ("published_channels", _C, "pieces", "taken from clue: one channel's entries of one call each"),
        ("published_unwanted", _C, "pieces", "that no edge wants"),
        ("publishes", _C, "calls", "taken from clue"),
        ("queue_bytes", _G, "bytes", "that wait for edges"),
        ("queue_bytes_max", _G, "bytes", "that wait for the edge with the longest queue"),
        ("redials", _C, "dials", "after a stream ended or could not be begun"),
        ("unapplied_max", _G, "messages", "sent and not confirmed by the edge that is furthest behind"),
    ),
    *_of(
        "verify",
        ("allowed_not_logged", _G, "messages", "that senders were told are in, and are not: never more than 0"),
        ("status", _G, "exit status", "of the last `tallgrass verify`; 0: all is well"),
        ("unanswered", _G, "messages", "whose senders were told nothing"),
        ("{edge}.delay_max_ms", _G, "ms", "from posting to reading, the longest"),
        ("{edge}.delay_p50_ms", _G, "ms", "from posting to reading, half were faster"),
        ("{edge}.delay_p99_ms", _G, "ms", "from posting to reading, one in a hundred was slower"),
        ("{edge}.missing", _G, "messages", "in the log and not seen there"),
        ("{edge}.out_of_order", _G, "messages", "seen out of order there"),
        ("{edge}.readable", _G, "0 or 1", "that edge could be read"),
        ("{edge}.repeated", _G, "messages", "seen twice there"),
    ),
)  # fmt: skip


def of(service: str) -> tuple[Metric, ...]:
    """All that a service of this kind may send."""
    own = (service,) if service == "verify" else (service, "every")
    return tuple(metric for metric in CATALOGUE if metric.service in own)


def find(service: str, name: str) -> Metric | None:
    """The entry for a metric of a service; an exact name before one with places. None: it is not listed."""
    entries = [metric for metric in of(service) if metric.matches(name)]
    return min(entries, key=lambda metric: metric.name.count("{"), default=None)
