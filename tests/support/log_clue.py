"""A clue of logs and a directory only, in memory, served over real gRPC: the neighbour of exchanges and edges."""

from collections import Counter, defaultdict
from typing import Any

from common import rpc
from common.pb import chat_pb2, clue_pb2, clue_pb2_grpc


class LogClue(clue_pb2_grpc.ClueServicer):
    def __init__(self) -> None:
        self.port = 0
        self.services: dict[tuple[str, int], clue_pb2.Registration] = {}
        self.available = True
        self.logs: dict[str, list[chat_pb2.Entry]] = defaultdict(list)
        self.calls: Counter[str] = Counter()
        self._server = rpc.server()
        clue_pb2_grpc.add_ClueServicer_to_server(self, self._server)

    async def __aenter__(self) -> "LogClue":
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    def commit(self, channel: str, *texts: str) -> chat_pb2.ChannelEntries:
        """Append to the log; gives what clue would publish."""
        log = self.logs[channel]
        new = []
        for text in texts:
            publication = chat_pb2.Publication(id=text, line=chat_pb2.Line(text=text))
            seq = log[-1].seq + 1 if log else 1
            entry = chat_pb2.Entry(seq=seq, prev=seq - 1, publication=publication.SerializeToString())
            log.append(entry)
            new.append(entry)
        return chat_pb2.ChannelEntries(channel=channel, entries=chat_pb2.Entries(entry=new).SerializeToString())

    def head(self, channel: str) -> int:
        return self.logs[channel][-1].seq if self.logs[channel] else 0

    def list_service(self, registration: clue_pb2.Registration) -> None:
        self.services[(registration.instance, registration.run)] = registration

    def _directory(self) -> clue_pb2.Directory:
        return clue_pb2.Directory(services=self.services.values() if self.available else (), available=self.available)

    async def Register(self, request: clue_pb2.Registration, context: Any) -> clue_pb2.Directory:
        self.calls["Register"] += 1
        self.list_service(request)
        return self._directory()

    async def Leave(self, request: clue_pb2.Registration, context: Any) -> clue_pb2.Directory:
        self.calls["Leave"] += 1
        self.services.pop((request.instance, request.run), None)
        return self._directory()

    async def Heads(self, request: clue_pb2.HeadsRequest, context: Any) -> clue_pb2.HeadsReply:
        self.calls["Heads"] += 1
        return clue_pb2.HeadsReply(
            heads=[
                clue_pb2.Head(channel=name, seq=self.head(name), available=self.available) for name in request.channels
            ]
        )

    async def Replay(self, request: clue_pb2.ReplayRequest, context: Any) -> clue_pb2.ReplayReply:
        self.calls["Replay"] += 1
        rest = [entry for entry in self.logs[request.channel] if entry.seq > request.after_seq]
        page = rest[: request.limit or 1_000]
        return clue_pb2.ReplayReply(
            entries=chat_pb2.Entries(entry=page).SerializeToString(),
            more=len(page) < len(rest),
            available=self.available,
        )
