"""Who is there: services register every few seconds and learn of all others. One key on one shard."""

from __future__ import annotations

from clue import keys, scripts
from clue.redis_shards import Shards
from clue.scripts import Argument
from common.errors import RemoteError
from common.pb import clue_pb2

TTL_MS = 6_000  # of a service that does not register again
REGISTER_S = 2.0  # how often one does


class DirectoryStore:
    """Each answer is the whole directory; available=False when its shard did not answer."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def register(self, registration: clue_pb2.Registration) -> clue_pb2.Directory:
        return await self._ask("register", _field(registration), registration.run, registration.SerializeToString())

    async def leave(self, registration: clue_pb2.Registration) -> clue_pb2.Directory:
        """Forgets the service, unless a later run of it has registered."""
        return await self._ask("leave", _field(registration), registration.run)

    async def read(self) -> clue_pb2.Directory:
        return await self._ask("read")

    async def _ask(self, *action: Argument) -> clue_pb2.Directory:
        try:
            reply = await self._shards.at(keys.DIRECTORY).call_one(scripts.directory(TTL_MS, *action))
        except RemoteError:
            return clue_pb2.Directory(available=False)
        directory = clue_pb2.Directory(available=True)
        for seen, stored in zip(reply[::2], reply[1::2], strict=True):
            service = clue_pb2.Registration.FromString(stored)
            service.last_seen_ms = int(seen)
            directory.services.append(service)
        directory.services.sort(key=lambda service: (service.service, service.instance))
        return directory


def _field(registration: clue_pb2.Registration) -> str:
    return f"{registration.service}/{registration.instance}"
