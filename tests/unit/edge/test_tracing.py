"""Which messages are followed, and what an edge tells of them."""

from types import SimpleNamespace

from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2
from common.trace import MARK, is_traced, marked
from edge import tracing
from edge.tracing import Tracer


class Heard:
    """A log that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def info(self, event, **fields):
        assert event == "trace"
        assert fields.pop("at") > 1_700_000_000_000_000
        self.lines.append(fields)


class Channel:
    """As the hub's: calls what is to come after a pass at once."""

    def __init__(self, members):
        self.members = members

    def __len__(self):
        return self.members

    def afterwards(self, call):
        call()


def tracer(every, **channels):
    heard = Heard()
    hub = SimpleNamespace(channels={f"#{name}": Channel(members) for name, members in channels.items()})
    return Tracer(every, hub, Metrics(), heard), heard


def test_one_in_every_is_followed():
    """The id says so, and stays a version 4 UUID."""
    made, _ = tracer(4)
    ids = [made.new_id(False) for _ in range(12)]
    assert [is_traced(one) for one in ids] == [False, False, False, True] * 3
    assert len(set(ids)) == 12
    assert all(one[14] == "4" and len(one) == 36 for one in ids)


def test_none_is_followed_when_none_shall_be():
    """0 turns sampling off; a requested one is followed all the same."""
    made, _ = tracer(0)
    # One id in 65,536 ends with the mark by chance: three of 500 do in one run of 13 million.
    assert sum(is_traced(made.new_id(False)) for _ in range(500)) <= 2
    assert is_traced(made.new_id(True))


def test_requests_are_bounded(monkeypatch):
    """More than five a second are sent without, and counted."""
    monkeypatch.setattr(tracing.time, "monotonic", lambda: 7.5)
    made, _ = tracer(0)
    assert [is_traced(made.new_id(True)) for _ in range(7)] == [True] * 5 + [False] * 2
    monkeypatch.setattr(tracing.time, "monotonic", lambda: 8.1)
    assert is_traced(made.new_id(True))


def test_only_followed_messages_are_told_of():
    made, heard = tracer(1)
    verdict = clue_pb2.Verdict(outcome=clue_pb2.Verdict.ALLOWED, seq=9)
    for message_id in ("11111111-1111-4111-8111-111111111111", marked("11111111-1111-4111-8111-111111111111")):
        made.taken(message_id, "#a", "ann")
        made.decided(message_id, "#a", verdict)
    assert [(line["hop"], line["id"][-4:]) for line in heard.lines] == [("taken", MARK), ("verdict", MARK)]
    assert (heard.lines[1]["outcome"], heard.lines[1]["seq"]) == ("allowed", 9)


def test_what_arrives_is_told_by_what_becomes_of_it():
    """New ones with their members, repeats, and those that wait for what lies before them."""
    made, heard = tracer(1, a=30)
    traced = [chat_pb2.Traced(id=str(seq), seq=seq) for seq in (4, 6, 9)]
    made.arrived("#a", "exchange-1@x", traced, 5, 8)
    assert [(line["id"], line["hop"]) for line in heard.lines] == [
        ("4", "repeated"), ("6", "arrived"), ("6", "written"), ("9", "held"),
    ]  # fmt: skip
    assert heard.lines[2]["members"] == 30
