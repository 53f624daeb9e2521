"""The newest entries, kept as the bytes that they are sent as."""

from clue.recent import RecentLines
from common.pb import chat_pb2


def entries(*ids, text="x", parent=""):
    made = chat_pb2.Entries()
    for message_id in ids:
        line = chat_pb2.Line(text=text, reply=chat_pb2.Reply(parent_id=parent))
        made.entry.add(seq=1, publication=chat_pb2.Publication(id=message_id, line=line).SerializeToString())
    return made.SerializeToString()


def test_find():
    """By the id of the message itself, not of one that it names."""
    recent = RecentLines()
    recent.put("#a", entries("one", "two", text="original"))
    recent.put("#a", entries("three", parent="two"))
    assert recent.find("#a", "two").line.text == "original"
    assert recent.find("#a", "four") is None
    assert recent.find("#b", "two") is None


def test_bounds():
    """A channel keeps its newest, and the channel written to longest ago goes first."""
    recent = RecentLines(channel_bytes=len(entries("id-1")) * 2, channels=2)
    for i in range(3):
        recent.put("#a", entries(f"id-{i}"))
    assert [recent.find("#a", f"id-{i}") is not None for i in range(3)] == [False, True, True]
    recent.put("#b", entries("x"))
    recent.put("#a", entries("id-3"))
    recent.put("#c", entries("x"))
    assert [recent.find(name, i) is not None for name, i in (("#a", "id-3"), ("#b", "x"), ("#c", "x"))] == [
        True, False, True,
    ]  # fmt: skip
