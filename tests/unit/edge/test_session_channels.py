"""JOIN and PART; rules 17 to 21 of clients.md section 1."""

from __future__ import annotations

import pytest

from common.pb.clue_pb2 import JoinResult
from edge.effects import AlreadyThere, Join, Joined, Names, Part
from edge.handlers.channels import MAX_CHANNELS
from edge.render import Capability
from tests.support.sessions import EVERYTHING, admitted, anonymous_session, asked, member, open_session, sent

OWN = [
    ":bob!bob@bob.tmi.twitch.tv JOIN {0}",
    ":bob.tmi.twitch.tv 353 bob = {0} :bob",
    ":bob.tmi.twitch.tv 366 bob {0} :End of /NAMES list",
]
USERSTATE = (
    "@badge-info=;badges=;color=;display-name=Bob;emote-sets=0;mod=0;subscriber=0;turbo=0;user-type="
    " :tmi.twitch.tv USERSTATE {0}"
)
ROOMSTATE = "@emote-only=0;followers-only=-1;r9k=0;room-id=77;slow=0;subs-only=0 :tmi.twitch.tv ROOMSTATE {0}"


def reply(channel):
    return [line.format(channel) for line in (*OWN, USERSTATE, ROOMSTATE)]


@pytest.mark.parametrize(
    ("line", "channels"),
    [
        ("JOIN #a", ["#a"]),
        ("JOIN #a,#b", ["#a", "#b"]),
        ("JOIN #A,#a", ["#a"]),
        ("JOIN #a,#b key1,key2", ["#a", "#b"]),
        ("JOIN :#a", ["#a"]),
        ("JOIN ,#a,,", ["#a"]),
        ("JOIN :", []),
    ],
)
def test_join_asks_for_each_channel_once(line, channels):
    """Rule 17: split at commas, folded, keys ignored."""
    assert open_session().feed(line.encode()) == [Join(channel) for channel in channels]


def test_the_reply_to_a_join_is_whole_and_in_order():
    """Rule 18: JOIN, 353, 366, USERSTATE, ROOMSTATE with all its tags."""
    session = open_session(EVERYTHING)
    session.feed(b"JOIN #c")
    assert session.channels == set()
    assert sent(session.joined("#c", admitted())) == reply("#c")
    assert session.channels == {"#c"}


@pytest.mark.parametrize(
    ("capabilities", "extra"),
    [
        (Capability(0), []),
        (Capability.TAGS, []),
        (Capability.COMMANDS, [":tmi.twitch.tv USERSTATE #c", ":tmi.twitch.tv ROOMSTATE #c"]),
    ],
)
def test_the_reply_to_a_join_holds_only_what_was_asked_for(capabilities, extra):
    """Rules 16 and 18: own JOIN always, the states with commands, tags with tags."""
    session = open_session(capabilities)
    session.feed(b"JOIN #c")
    assert sent(session.joined("#c", admitted())) == [line.format("#c") for line in OWN] + extra


def test_the_anonymous_get_no_userstate():
    """Rule 4."""
    session = anonymous_session(EVERYTHING)
    session.feed(b"JOIN #c")
    assert sent(session.joined("#c", admitted(anonymous=True))) == [
        ":justinfan1!justinfan1@justinfan1.tmi.twitch.tv JOIN #c",
        ":justinfan1.tmi.twitch.tv 353 justinfan1 = #c :justinfan1",
        ":justinfan1.tmi.twitch.tv 366 justinfan1 #c :End of /NAMES list",
        ROOMSTATE.format("#c"),
    ]


def test_replies_come_in_the_order_asked():
    """Whatever order clue answers in."""
    session = open_session(EVERYTHING)
    session.feed(b"JOIN #a,#b,#c")
    assert session.joined("#b", admitted()) == []
    assert session.channels == set()
    assert sent(session.joined("#a", admitted())) == reply("#a") + reply("#b")
    assert session.channels == {"#a", "#b"}
    assert sent(session.joined("#c", admitted())) == reply("#c")


def test_a_channel_joined_or_asked_for_stays_without_reply():
    """Rule 20."""
    session = open_session()
    session.feed(b"JOIN #a")
    assert session.feed(b"JOIN #a") == []
    session.joined("#a", admitted())
    assert session.feed(b"JOIN #A") == []


@pytest.mark.parametrize("name", ["c", "#", "#a-b", "#é", "0", "#a b", "&a", "##a", "#" + "a" * 26])
def test_an_impossible_name_is_told_and_the_rest_joined(name):
    """Rule 20; the NOTICE goes to "*", since dank refuses one to a name that is no channel."""
    effects = open_session(EVERYTHING).feed(f"JOIN :{name},#good".encode())
    assert effects == [
        b"@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE * "
        b":This channel does not exist or has been suspended.\r\n",
        Join("#good"),
    ]


@pytest.mark.parametrize(
    ("result", "notice"),
    [
        (
            JoinResult(outcome=JoinResult.DENIED, denial="msg_banned", notice="You are permanently banned."),
            "@msg-id=msg_banned :tmi.twitch.tv NOTICE #c :You are permanently banned.",
        ),
        (
            JoinResult(outcome=JoinResult.UNAVAILABLE),
            "@msg-id=msg_unavailable :tmi.twitch.tv NOTICE #c "
            ":This channel cannot be joined at the moment. Please try again in a minute.",
        ),
        (
            JoinResult(),
            "@msg-id=msg_unavailable :tmi.twitch.tv NOTICE #c "
            ":This channel cannot be joined at the moment. Please try again in a minute.",
        ),
    ],
)
def test_a_failed_join_is_told_and_may_be_tried_again(result, notice):
    """Rule 20: clue's own words, or that it could not be asked."""
    session = open_session(EVERYTHING)
    session.feed(b"JOIN #c")
    assert sent(session.joined("#c", result)) == [notice]
    assert session.channels == set()
    assert session.feed(b"JOIN #c") == [Join("#c")]


def test_the_notice_of_a_failed_join_needs_no_capability():
    """A person waits: told to everyone, the msg-id only with tags."""
    session = open_session()
    session.feed(b"JOIN #c")
    result = JoinResult(outcome=JoinResult.DENIED, denial="msg_banned", notice="No.")
    assert sent(session.joined("#c", result)) == [":tmi.twitch.tv NOTICE #c :No."]


def test_a_session_is_in_at_most_a_hundred_channels():
    """ARCHITECTURE 6: the next one is told, joins under way count."""
    session = open_session(EVERYTHING)
    names = [f"#c{number}" for number in range(MAX_CHANNELS)]
    session.feed(f"JOIN {','.join(names)}".encode())
    for name in names[:50]:
        session.joined(name, admitted())
    effects = session.feed(b"JOIN #more,#c1,#c99")
    assert effects == [
        b"@msg-id=msg_channel_limit :tmi.twitch.tv NOTICE #more "
        b":You are in 100 channels, which is the most. Leave one to join #more.\r\n"
    ]
    session.feed(b"PART #c1")
    assert session.feed(b"JOIN #more") == [Join("#more")]


@pytest.mark.parametrize("line", [b"PART #c", b"PART #C :going", b"PART :#c"])
def test_part_is_echoed(line):
    """Rule 21: always, with the full prefix."""
    session = member("#c")
    assert session.feed(line) == [Part("#c"), b":bob!bob@bob.tmi.twitch.tv PART #c\r\n"]
    assert session.channels == set()


def test_part_takes_a_list():
    """`PART #a,#b` leaves both."""
    session = member("#a", "#b")
    assert asked(session.feed(b"PART #a,#b")) == [Part("#a"), Part("#b")]


@pytest.mark.parametrize(("name", "about"), [("#other", "#other"), ("b-d", "*")])
def test_leaving_a_channel_one_is_not_in_is_told(name, about):
    """442 instead of silence."""
    effects = member("#c").feed(f"PART {name}".encode())
    assert effects == [f":tmi.twitch.tv 442 bob {about} :You're not on that channel\r\n".encode()]


def test_a_join_under_way_can_be_given_up():
    """The echo comes at once, the late answer is forgotten."""
    session = open_session()
    session.feed(b"JOIN #c")
    assert session.feed(b"PART #c") == [Part("#c"), b":bob!bob@bob.tmi.twitch.tv PART #c\r\n"]
    assert session.feed(b"PART #c") == [b":tmi.twitch.tv 442 bob #c :You're not on that channel\r\n"]
    assert session.joined("#c", admitted()) == []
    assert session.channels == set()


def test_a_join_given_up_does_not_hold_up_the_next():
    """Its place in the order ends with its answer."""
    session = open_session(EVERYTHING)
    session.feed(b"JOIN #a,#b")
    session.feed(b"PART #a")
    assert session.joined("#b", admitted()) == []
    assert sent(session.joined("#a", admitted())) == reply("#b")


def test_a_join_given_up_and_wanted_again_takes_the_same_answer():
    """One question of each session about a channel is under way at a time."""
    session = open_session(EVERYTHING)
    session.feed(b"JOIN #c")
    session.feed(b"PART #c")
    assert session.feed(b"JOIN #c") == []
    assert sent(session.joined("#c", admitted())) == reply("#c")


def test_joins_given_up_count_until_they_are_answered():
    """JOIN and PART in turn cannot pile up questions to a clue that does not answer."""
    session = open_session()
    for number in range(MAX_CHANNELS):
        session.feed(f"JOIN #c{number}".encode())
        session.feed(f"PART #c{number}".encode())
    assert asked(session.feed(b"JOIN #more")) == []


def test_an_answer_that_nobody_asked_for_joins_nothing():
    """Only a JOIN can let a session in."""
    session = open_session()
    assert session.joined("#c", admitted()) == []
    assert session.channels == set()


# -- others -----------------------------------------------------------------------------------------------------------


def test_those_already_there_come_before_oneself():
    """tmi_protocol.md 6: for readers of membership alone, between JOIN and one's own 353."""
    session = open_session(Capability.MEMBERSHIP)
    session.feed(b"JOIN #c")
    first, there, rest, joined = session.joined("#c", admitted())
    assert first == b":bob!bob@bob.tmi.twitch.tv JOIN #c\r\n"
    assert there == AlreadyThere("#c")
    assert rest.startswith(b":bob.tmi.twitch.tv 353 bob = #c :bob\r\n")
    assert joined == Joined("#c", 0)


def test_names_lists_others_then_oneself():
    """Each channel in the order asked; of one that the session is not in, the end alone."""
    session = member("#c", "#d")
    assert session.feed(b"NAMES #d,#x,#c") == [Names(("#d", "#x", "#c"))]
    assert sent(session.named(("#d", "#x", "#c"), {"#c": ["al", "bob", "eve"]})) == [
        ":bob.tmi.twitch.tv 353 bob = #d :bob",
        ":bob.tmi.twitch.tv 366 bob #d :End of /NAMES list",
        ":bob.tmi.twitch.tv 366 bob #x :End of /NAMES list",
        ":bob.tmi.twitch.tv 353 bob = #c :al eve",
        ":bob.tmi.twitch.tv 353 bob = #c :bob",
        ":bob.tmi.twitch.tv 366 bob #c :End of /NAMES list",
    ]


def test_what_follows_names_waits_for_it():
    """The order on the wire is the order received."""
    session = member("#c")
    session.feed(b"NAMES #c")
    assert session.feed(b"PING 1") == []
    assert session.feed(b"NAMES #c") == []
    assert session.feed(b"PING 2") == []
    effects = session.named(("#c",), {})
    assert sent(effects)[-1] == ":tmi.twitch.tv PONG tmi.twitch.tv :1"
    assert effects[-1] == Names(("#c",))
    assert sent(session.named(("#c",), {}))[-1] == ":tmi.twitch.tv PONG tmi.twitch.tv :2"


def test_too_many_lines_behind_names_go_on_without_it():
    """The bound ends the waiting, not the session; the late answer comes all the same."""
    session = member("#c")
    session.feed(b"NAMES #c")
    answers = [effect for _ in range(129) for effect in session.feed(b"PING 1")]
    assert len(answers) == 129
    assert sent(session.named(("#c",), {}))[-1].endswith(":End of /NAMES list")


def test_names_of_many_take_several_lines():
    """Each within the length of an IRC line."""
    session = member("#c")
    others = [f"user_with_a_name_{number:04}" for number in range(200)]
    lines = sent(session.named(("#c",), {"#c": others}))
    assert all(len(line) <= 510 for line in lines)
    assert [name for line in lines[:-1] for name in line.partition(" :")[2].split()] == [*others, "bob"]


def test_who_is_expelled_leaves_and_sees_it():
    """Once; it may try to come back."""
    session = member("#c")
    assert session.expelled("#c") == [Part("#c"), b":bob!bob@bob.tmi.twitch.tv PART #c\r\n"]
    assert session.expelled("#c") == []
    assert session.feed(b"JOIN #c") == [Join("#c")]
