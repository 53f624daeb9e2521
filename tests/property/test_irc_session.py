"""Properties of the session core that hold for any order of lines and answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.irc.message import parse
from common.pb.clue_pb2 import JoinResult
from edge.effects import Join, Joined, Part
from tests.support.sessions import admitted, asked, open_session, sent

NAMES = [f"#c{number}" for number in range(5)]


class Joining(RuleBasedStateMachine):
    """JOIN and PART in any order, clue answering in any order: compared with the set of what a client believes."""

    def __init__(self):
        super().__init__()
        self.session = open_session()
        self.open_questions = []
        self.believed = set()

    def hear(self, effects):
        """What a client makes of the lines; and what clue is asked."""
        for line in sent(effects):
            message = parse(line.encode())
            if message.command == "JOIN":
                assert message.params[0] not in self.believed
                self.believed.add(message.params[0])
            elif message.command == "PART":
                self.believed.discard(message.params[0])
        for effect in asked(effects):
            if isinstance(effect, Join):
                assert effect.channel not in self.open_questions
                self.open_questions.append(effect.channel)
            else:
                assert isinstance(effect, (Part, Joined))

    @rule(name=st.sampled_from(NAMES))
    def join(self, name):
        self.hear(self.session.feed(f"JOIN {name}".encode()))

    @rule(name=st.sampled_from(NAMES))
    def part(self, name):
        self.hear(self.session.feed(f"PART {name}".encode()))
        assert name not in self.session.channels

    @precondition(lambda self: self.open_questions)
    @rule(data=st.data(), admit=st.booleans())
    def answer(self, data, admit):
        name = data.draw(st.sampled_from(self.open_questions))
        self.open_questions.remove(name)
        self.hear(self.session.joined(name, admitted() if admit else JoinResult(outcome=JoinResult.DENIED)))

    @invariant()
    def the_client_believes_what_is_so(self):
        assert self.session.channels == self.believed

    def teardown(self):
        for name in self.open_questions:
            self.hear(self.session.joined(name, admitted()))
        assert len(self.session.joins) == 0
        self.the_client_believes_what_is_so()


TestJoining = Joining.TestCase


@given(st.permutations(NAMES))
def test_replies_to_one_join_come_in_its_order(answers):
    """Whatever order clue answers in."""
    session = open_session()
    session.feed(f"JOIN {','.join(NAMES)}".encode())
    lines = [line for name in answers for line in sent(session.joined(name, admitted()))]
    assert [line.split(" ")[2] for line in lines if " JOIN " in line] == NAMES
