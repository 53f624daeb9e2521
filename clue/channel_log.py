"""Reading channels' logs: what came after a seq, and how far each one is."""

from __future__ import annotations

from collections.abc import Sequence

from clue import keys, scripts
from clue.homes import Homes, LivesElsewhere, elsewhere, failure
from clue.redis_shards import Shard, Shards
from common.errors import RemoteError
from common.pb import chat_pb2, clue_pb2

PAGE = 500  # entries of one Replay at most


class ChannelLogs:
    def __init__(self, shards: Shards, homes: Homes) -> None:
        self._shards = shards
        self._homes = homes

    async def replay(self, channel: str, after_seq: int, limit: int) -> clue_pb2.ReplayReply:
        """At most `limit` (0: PAGE) entries after `after_seq`; available=False when the shard did not answer,
        `elsewhere` when the channel lives there.
        """
        limit = min(limit or PAGE, PAGE)
        try:
            entries = await self._range(channel, f"({after_seq}", "+", limit + 1)
        except LivesElsewhere as error:
            return clue_pb2.ReplayReply(available=True, elsewhere=elsewhere(error.home))
        except RemoteError:
            return clue_pb2.ReplayReply(available=False)
        more = len(entries) > limit
        return clue_pb2.ReplayReply(
            entries=chat_pb2.Entries(entry=entries[:limit]).SerializeToString(), more=more, available=True
        )

    async def between(self, channel: str, first: int, last: int) -> list[chat_pb2.Entry]:
        """The entries from `first` to `last`, both included. Raises RemoteError."""
        return await self._range(channel, str(first), str(last), last - first + 1)

    async def find(self, channel: str, message_id: str) -> chat_pb2.Publication | None:
        """A message (its id a UUID) that has not been deleted; None: the log does not have it. Raises RemoteError."""
        found = await self._shards.at(keys.of_channel(channel).log).call_one(scripts.find(channel, message_id))
        if not found:
            return None
        *later, publication = map(chat_pb2.Publication.FromString, found)
        return None if any(one.deleted.message_id == message_id for one in later) else publication

    async def heads(self, channels: Sequence[str]) -> clue_pb2.HeadsReply:
        """The newest seq of each, in order. One call a shard."""
        names = [keys.of_channel(channel).head for channel in channels]
        by_shard: dict[Shard, list[int]] = {}
        for i, name in enumerate(names):
            by_shard.setdefault(self._shards.at(name), []).append(i)
        asked = [
            (places, shard.call([("HMGET", names[i], "seq", "home") for i in places]))
            for shard, places in by_shard.items()
        ]
        heads = [clue_pb2.Head(channel=channel, available=False) for channel in channels]
        for places, future in asked:
            try:
                replies = await future
            except RemoteError:
                continue
            for i, reply in zip(places, replies, strict=True):
                if isinstance(reply, RemoteError):
                    continue
                heads[i].available = True
                try:
                    self._homes.check(channels[i], reply[1])
                except LivesElsewhere as error:
                    heads[i].elsewhere.CopyFrom(elsewhere(error.home))
                else:
                    heads[i].seq = int(reply[0] or 0)
        return clue_pb2.HeadsReply(heads=heads)

    async def _range(self, channel: str, start: str, end: str, count: int) -> list[chat_pb2.Entry]:
        shard = self._shards.at(keys.of_channel(channel).log)
        found = await shard.call_one(scripts.replay(channel, start, end, count, self._homes.here(channel)))
        error = failure(channel, found)
        if error is not None:
            raise error
        return [
            chat_pb2.Entry(seq=int(number.partition(b"-")[0]), prev=int(fields[1]), publication=fields[3])
            for number, fields in zip(found[::2], found[1::2], strict=True)
        ]
