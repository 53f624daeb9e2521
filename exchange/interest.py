"""Which links want which channel. Pure.

Mirrors `edge/hub.py` (channel to members): `add` answers whether the link is the channel's first, `remove` whether it
was the last.
"""

from __future__ import annotations

from collections.abc import Hashable, Set
from typing import Generic, TypeVar

Reader = TypeVar("Reader", bound=Hashable)


class Interest(Generic[Reader]):
    __slots__ = ("_channels", "_readers")

    def __init__(self) -> None:
        self._readers: dict[str, set[Reader]] = {}
        self._channels: dict[Reader, set[str]] = {}

    def __len__(self) -> int:
        """Channels that somebody wants."""
        return len(self._readers)

    def add(self, channel: str, reader: Reader) -> bool:
        """`reader` wants `channel` from now on; adding it again changes nothing. True: it is the first there."""
        readers = self._readers.setdefault(channel, set())
        first = not readers
        readers.add(reader)
        self._channels.setdefault(reader, set()).add(channel)
        return first

    def remove(self, channel: str, reader: Reader) -> bool:
        """`reader` no longer wants `channel`; no matter when it never did. True: it was the last there."""
        readers = self._readers.get(channel)
        if readers is None or reader not in readers:
            return False
        readers.discard(reader)
        channels = self._channels[reader]
        channels.discard(channel)
        if not channels:
            del self._channels[reader]
        if readers:
            return False
        del self._readers[channel]
        return True

    def drop(self, reader: Reader) -> list[str]:
        """`reader` is gone with all that it wanted. Gives the channels that nobody wants any more."""
        return [channel for channel in list(self._channels.get(reader, ())) if self.remove(channel, reader)]

    def readers(self, channel: str) -> Set[Reader]:
        """Who wants `channel`. A live view: not to be kept across an await."""
        return self._readers.get(channel) or frozenset()

    def channels(self, reader: Reader) -> int:
        """How many channels `reader` wants."""
        return len(self._channels.get(reader, ()))
