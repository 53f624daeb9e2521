"""Properties of presence: what clue believes of an edge, and what a reader believes of a channel, is what is so."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.irc.message import parse
from common.pb.clue_pb2 import Chatters
from edge.presence import Presence, Roster

LOGINS = ["ann", "bob", "cat", "c"]


class Reporting(RuleBasedStateMachine):
    """Sessions come and go, reports arrive, are lost, or meet a clue that has forgotten: after the next report that
    arrives clue's set is the set of those who are there, or the edge was told that clue has none.
    """

    def __init__(self):
        super().__init__()
        self.presence = Presence()
        self.sessions = []
        self.believed = None
        self.wrong = False

    @rule(login=st.sampled_from([*LOGINS, ""]))
    def enter(self, login):
        self.presence.enter("#c", login)
        self.sessions.append(login)
        self.wrong = True

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def leave(self, data):
        login = data.draw(st.sampled_from(self.sessions))
        self.sessions.remove(login)
        self.presence.leave("#c", login)
        self.wrong = True

    @rule()
    def forget(self):
        self.believed = None
        self.wrong = True

    @rule(arrives=st.booleans())
    def report(self, arrives):
        said = [report for number in range(32) for report in self.presence.report(number)]
        if not arrives:
            self.presence.lost(report.channel for report in said)
            return
        self.wrong = False
        for report in said:
            if report.full:
                self.believed = set(report.joined) or None
            elif self.believed is None:
                self.presence.lost([report.channel])
                self.wrong = True
            else:
                self.believed = (self.believed | set(report.joined)) - set(report.left)

    @invariant()
    def clue_believes_what_is_so(self):
        if not self.wrong:
            assert (self.believed or set()) == {login for login in self.sessions if login}


class Reading(RuleBasedStateMachine):
    """Lists follow each other: a reader that takes each line in turn has the last complete one."""

    def __init__(self):
        super().__init__()
        self.presence = Presence()
        self.presence.enter("#c", "")
        self.believed = set()
        self.operators = set()

    @rule(logins=st.sets(st.sampled_from(LOGINS)), moderators=st.sets(st.sampled_from(LOGINS)), complete=st.booleans())
    def learn(self, logins, moderators, complete):
        listed = sorted(logins) if complete else sorted(logins & moderators)
        moderators = [login for login in listed if login in moderators]
        chatters = Chatters(channel="#c", logins=listed, complete=complete, moderators=moderators)
        movement = self.presence.get("#c").learn(Roster.of(chatters))
        for line in movement.lines.split(b"\r\n")[:-1] if movement else []:
            message = parse(line)
            nick = message.prefix.partition("!")[0]
            if message.command == "JOIN":
                assert nick not in self.believed
                self.believed.add(nick)
            elif message.command == "PART":
                self.believed.remove(nick)
                self.operators.discard(nick)
            else:
                assert message.params[2] in self.believed
                (self.operators.add if message.params[1] == "+o" else self.operators.remove)(message.params[2])
        if complete:
            assert self.believed == logins
            assert self.operators == {login for login in logins if login in moderators or login == "c"}


TestReporting = Reporting.TestCase
TestReading = Reading.TestCase
