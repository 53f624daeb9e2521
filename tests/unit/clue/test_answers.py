"""What is kept of an answer gives the same answer, and what was to follow it."""

import pytest

from clue import answers
from clue.commands.notices import Notice
from clue.commands.shape import Answer, Post, Recolor, ToModerators
from common.pb import chat_pb2, clue_pb2

BOB = chat_pb2.Chatter(user_id=7, login="bob", color="#111111")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer((Notice("a", "text with spaces, @ and =", (5, 6)), Notice("b", "\u201c"))),
        Answer(disconnect=True),
        Answer(effects=(Post("@bob", bytes(range(256))), ToModerators(b"\0"), Recolor("bob", "#FFFFFF"))),
    ],
)
def test_round_trip(answer):
    """Also through the form that commit.lua keeps, which has no space and no @."""
    kept = answers.of(answer, BOB)
    token = answers.token(kept)
    assert answers.from_token(token) == kept
    assert token[0] == "="
    assert not set(" @") & set(token)


def test_verdict():
    """Notices are told; where there are none, or the color is new, the author is shown its state."""
    told = answers.of(Answer((Notice("a", "text", (5,)),)), BOB).verdict
    assert told == clue_pb2.Verdict(
        outcome=clue_pb2.Verdict.COMMAND, notices=[clue_pb2.Notice(msg_id="a", text="text", target_user_ids=["5"])]
    )
    assert answers.of(Answer(), BOB).verdict.chatter == BOB
    colored = answers.of(Answer((Notice("a", "text"),), effects=(Recolor("bob", "#222222"),)), BOB).verdict
    assert colored.chatter.color == "#222222"
