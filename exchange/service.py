"""The Exchange servicer: what clue publishes goes into the queues of the links that want it. Parses no entry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, exchange_pb2, exchange_pb2_grpc
from common.streams import Answering
from common.trace import passed
from exchange.interest import Interest
from exchange.links import Link, Links


class ExchangeService(exchange_pb2_grpc.ExchangeServicer):
    def __init__(self, links: Links, streams: Answering, metrics: Metrics, log: Log) -> None:
        self._streams = streams
        self._links = links
        self._log = log
        self._interest: Interest[Link] = links.interest
        self._counters = metrics.counters

    async def Publish(self, request: exchange_pb2.PublishRequest, context: Any) -> exchange_pb2.PublishReply:
        self.publish(request.channels)
        return exchange_pb2.PublishReply(edges=self._links.up)

    async def PublishStream(self, request_iterator: Any, context: Any) -> None:
        await self._streams.serve(context, lambda request: self.Publish(request, context))

    async def GetLinks(self, request: exchange_pb2.LinksRequest, context: Any) -> exchange_pb2.LinksReply:
        return exchange_pb2.LinksReply(links=self._links.states())

    def publish(self, channels: Iterable[chat_pb2.ChannelEntries]) -> None:
        """Append each channel's entries to the queue of every link that wants it.

        The entries are serialized once, as the piece of a Delivery that they are going to be: a Delivery is the
        concatenation of such pieces (protobuf merges concatenated messages), so no link pays for it again.
        """
        counters = self._counters
        counters["publishes"] += 1
        for entries in channels:
            counters["published_channels"] += 1
            counters["published_bytes"] += len(entries.entries)
            readers = self._interest.readers(entries.channel)
            if not readers:
                counters["published_unwanted"] += 1
                continue
            piece = exchange_pb2.Delivery(channels=(entries,)).SerializeToString()
            for link in readers:
                link.push(piece)
            for one in entries.traced:
                edges = ",".join(sorted(link.name for link in readers))
                passed(self._log, "queued", one.id, entries.channel, seq=one.seq, edges=edges)
