"""The words of all channels, read now and then; and each channel's own, which come with its facts, added to them."""

from __future__ import annotations

import asyncio

from clue import keys, scripts
from clue.redis_shards import Shards
from clue.vocabulary import Edit, Vocabulary, compiled, edited
from common.errors import RemoteError

REFRESH_S = 5.0  # so old may be what is known of the words of all channels; a channel's own are never old


class Vocabularies:
    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._terms = b""
        self._emotes = b""

    def of(self, fields: dict[bytes, bytes]) -> Vocabulary:
        """`fields`: the room's."""
        return compiled(self._emotes, fields.get(b"emotes", b""), self._terms, fields.get(b"terms", b""))

    async def run(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """While the shard does not answer, what was known goes on."""
        try:
            terms, emotes = await self._shards.at(keys.VOCABULARY).call_one(
                ("HMGET", keys.VOCABULARY, "terms", "emotes")
            )
        except RemoteError:
            return  # the shard counts and logs it
        self._terms, self._emotes = terms or b"", emotes or b""

    async def change(self, edit: Edit) -> bool:
        """Of all channels; other clues know within REFRESH_S. Raises RemoteError, and ValueError (see `edited`)."""
        shard = self._shards.at(keys.VOCABULARY)
        while True:
            terms, emotes = await shard.call_one(("HMGET", keys.VOCABULARY, "terms", "emotes"))
            new_terms, new_emotes = edited(terms or b"", emotes or b"", edit)
            if (new_terms.encode(), new_emotes.encode()) == (terms or b"", emotes or b""):
                return False
            done = await shard.call_one(scripts.set_vocabulary(terms or b"", emotes or b"", new_terms, new_emotes))
            if done:
                await self.refresh()
                return True
