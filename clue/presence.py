"""Who is in which channel, as edges report it: one set for each channel and edge, in Redis, with a time to live."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple

from clue import keys, scripts
from clue.homes import Homes, LivesElsewhere, elsewhere, failure
from clue.redis_shards import Shards
from clue.users import channel_owner
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

TTL_MS = 60_000  # of an edge's set; edges report every 10 s
LISTED = 1_000  # chatters; a larger channel has no list (tmi_protocol.md 6)


class Ranks(NamedTuple):
    """Logins with a role in a channel, the broadcaster's own apart."""

    moderators: Collection[str]
    vips: Collection[str]


ReadRanks = Callable[[Collection[str]], Awaitable[Mapping[str, Ranks | RemoteError]]]

_NOTHING = clue_pb2.ChannelPresence()
_NOBODY = Ranks((), ())


class Presence:
    def __init__(self, shards: Shards, homes: Homes, read_ranks: ReadRanks, metrics: Metrics) -> None:
        self._shards = shards
        self._homes = homes
        self._read_ranks = read_ranks
        self._metrics = metrics

    async def report(self, report: clue_pb2.PresenceReport) -> clue_pb2.PresenceReply:
        """Take one lane's report and read the lists asked for: one script for each channel, all at once.

        A channel whose shard did not answer, or that lives elsewhere, is `unknown`, so that its edge reports it in full
        (there), and its list is not available.
        """
        reports = {said.channel: said for said in report.channels}
        wanted = {channel for channel in report.wanted if channel_owner(channel) is not None}
        ranks = await self._read_ranks(wanted)
        asked = {}
        for channel in [*reports, *(channel for channel in wanted if channel not in reports)]:
            said = reports.get(channel, _NOTHING)
            rank = ranks.get(channel, _NOBODY)
            roles = _NOBODY if isinstance(rank, RemoteError) else rank
            command = scripts.presence(
                channel,
                report.edge_run,
                TTL_MS,
                ("full" if said.full else "change") if channel in reports else "",
                LISTED if channel in wanted else 0,
                said.joined,
                said.left,
                {*roles.moderators, *roles.vips, channel[1:]},
                self._homes.here(channel),
            )
            asked[channel] = self._shards.at(keys.edges_of(channel)).call((command,))
        reply = clue_pb2.PresenceReply()
        lists = {}
        for channel, future in asked.items():
            try:
                found = (await future)[0]
            except RemoteError as error:
                found = error
            failed = failure(channel, found)
            if failed is not None:
                if isinstance(failed, LivesElsewhere):
                    lists[channel] = clue_pb2.Chatters(elsewhere=elsewhere(failed.home))
                else:
                    self._metrics.count("presence.failures")
                if channel in reports:
                    reply.unknown.append(channel)
                continue
            known, count, complete, logins = found
            if not known:
                reply.unknown.append(channel)
            rank = ranks.get(channel, _NOBODY)
            if not isinstance(rank, RemoteError):
                there = sorted(login.decode() for login in logins)
                lists[channel] = clue_pb2.Chatters(
                    available=True,
                    count=count,
                    logins=there,
                    complete=bool(complete),
                    moderators=[login for login in there if login in rank.moderators],
                    vips=[login for login in there if login in rank.vips],
                )
        for channel in report.wanted:
            chatters = reply.chatters.add(channel=channel)
            if channel in lists:
                chatters.MergeFrom(lists[channel])
        self._metrics.count("presence.reports")
        return reply
