"""The newest entries of channels that this clue committed, to answer replies without asking Redis. Pure.

Costs a message nothing: what is kept are the bytes that go to the exchange, and only a reply looks into them. What is
not found here is looked up in the log.
"""

from __future__ import annotations

from collections import deque

from common.pb import chat_pb2

CHANNEL_BYTES = 128 << 10
CHANNELS = 500  # the one written to longest ago goes first


class RecentLines:
    def __init__(self, channel_bytes: int = CHANNEL_BYTES, channels: int = CHANNELS) -> None:
        self._channel_bytes = channel_bytes
        self._bound = channels
        self._kept: dict[str, tuple[deque[bytes], int]] = {}

    def put(self, channel: str, entries: bytes) -> None:
        """`entries`: a serialized chat_pb2.Entries."""
        kept, size = self._kept.pop(channel) if channel in self._kept else (deque(), 0)
        kept.append(entries)
        size += len(entries)
        while size > self._channel_bytes:
            size -= len(kept.popleft())
        self._kept[channel] = (kept, size)
        if len(self._kept) > self._bound:
            del self._kept[next(iter(self._kept))]

    def find(self, channel: str, message_id: str) -> chat_pb2.Publication | None:
        kept, _ = self._kept.get(channel, ((), 0))
        sought = message_id.encode()
        for entries in reversed(kept):
            if sought in entries:
                for entry in chat_pb2.Entries.FromString(entries).entry:
                    publication = chat_pb2.Publication.FromString(entry.publication)
                    if publication.id == message_id:
                        return publication
        return None
