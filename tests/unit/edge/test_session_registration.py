"""Logging in and capabilities; rules by their numbers in clients.md section 1."""

from __future__ import annotations

import pytest

from common.pb.chat_pb2 import Chatter
from common.pb.clue_pb2 import LoginResult
from edge.disconnect import Disconnect
from edge.effects import Authenticate, CapabilitiesChanged, Close, Join
from edge.render import Capability
from edge.session import MAX_HELD_LINES, Phase, Session
from tests.support.sessions import EVERYTHING, accepted, anonymous_session, asked, open_session, sent

WELCOME = [
    ":tmi.twitch.tv 001 {0} :Welcome, GLHF!",
    ":tmi.twitch.tv 002 {0} :Your host is tmi.twitch.tv",
    ":tmi.twitch.tv 003 {0} :This server is rather new",
    ":tmi.twitch.tv 004 {0} :-",
    ":tmi.twitch.tv 375 {0} :-",
    ":tmi.twitch.tv 372 {0} :You are in a maze of twisty passages, all alike.",
    ":tmi.twitch.tv 376 {0} :>",
]

GLOBALUSERSTATE = (
    "@badge-info=;badges=;color=;display-name=Bob;emote-sets=0;turbo=0;user-id=12345678;user-type="
    " :tmi.twitch.tv GLOBALUSERSTATE"
)


def welcome(login):
    return [line.format(login) for line in WELCOME]


def feed(session, *lines):
    return [effect for line in lines for effect in session.feed(line.encode())]


@pytest.mark.parametrize(
    "lines",
    [
        ["PASS oauth:tok", "NICK bob"],
        ["PASS :oauth:tok", "NICK bob"],
        ["pass oauth:tok", "nick :bob"],
        ["PASS OAuth:tok", "NICK bob"],
        ["PASS oauth:old", "PASS oauth:tok", "NICK bob"],
        ["PASS oauth:tok", "USER bob 0 * :bob", "NICK bob"],
        ["USER bob", "PASS oauth:tok", "NICK bob"],
    ],
)
def test_nick_after_pass_asks_who_it_is(lines):
    """Rules 1 to 3: registration starts at NICK; USER is ignored; PASS may have a colon."""
    session = Session(1)
    assert feed(session, *lines) == [Authenticate("bob", "tok")]
    assert session.phase is Phase.REGISTERING


def test_the_nick_goes_to_clue_as_it_was_typed():
    """Clue folds it, and may keep the capitals as the display name."""
    assert feed(Session(1), "PASS oauth:tok", "NICK BoB") == [Authenticate("BoB", "tok")]


def test_an_accepted_login_is_welcomed_under_the_name_that_clue_says():
    """Rule 7: 001 to 376, each with a text after its colon."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK BoB")
    assert sent(session.authenticated(accepted("bob"))) == welcome("bob")
    assert (session.phase, session.login, session.user.user_id) == (Phase.OPEN, "bob", 12345678)
    assert not session.anonymous


@pytest.mark.parametrize(
    ("capabilities", "extra"),
    [
        (Capability(0), []),
        (Capability.TAGS | Capability.MEMBERSHIP, []),
        (Capability.COMMANDS, [":tmi.twitch.tv GLOBALUSERSTATE"]),
        (Capability.TAGS | Capability.COMMANDS, [GLOBALUSERSTATE]),
    ],
)
def test_globaluserstate_follows_the_welcome_with_the_commands_capability(capabilities, extra):
    """Rule 8, and its tags only with the tags capability (rule 16)."""
    session = Session(1)
    session.capabilities = capabilities
    feed(session, "PASS oauth:tok", "NICK bob")
    assert sent(session.authenticated(accepted())) == welcome("bob") + extra


@pytest.mark.parametrize("before", [[], ["PASS SCHMOOPIIE"], ["PASS oauth:tok"]])
def test_justinfan_reads_anonymously(before):
    """Rule 4: no PASS, or any; no GLOBALUSERSTATE; clue is not asked."""
    session = Session(1)
    session.capabilities = EVERYTHING
    effects = feed(session, *before, "NICK JustinFan123")
    assert sent(effects) == welcome("justinfan123")
    assert asked(effects) == []
    assert (session.phase, session.anonymous, session.user) == (Phase.OPEN, True, None)


@pytest.mark.parametrize(
    ("lines", "text", "reason"),
    [
        (["NICK bob"], "Improperly formatted auth", Disconnect.IMPROPER_AUTH),
        (["NICK justinfan"], "Improperly formatted auth", Disconnect.IMPROPER_AUTH),
        (["PASS tok", "NICK bob"], "Improperly formatted auth", Disconnect.IMPROPER_AUTH),
        (["PASS oauth:", "NICK bob"], "Improperly formatted auth", Disconnect.IMPROPER_AUTH),
        (["PASS oauth:tok", "NICK b-b"], "Invalid NICK", Disconnect.INVALID_NICK),
        (["PASS oauth:tok", "NICK"], "Invalid NICK", Disconnect.INVALID_NICK),
        (["PASS oauth:tok", "NICK " + "b" * 26], "Invalid NICK", Disconnect.INVALID_NICK),
    ],
)
def test_a_login_that_cannot_be_asked_for_is_refused(lines, text, reason):
    """Rule 9: one NOTICE without tags in exactly these words, then the end."""
    session = Session(1)
    session.capabilities = EVERYTHING
    assert feed(session, *lines) == [f":tmi.twitch.tv NOTICE * :{text}\r\n".encode(), Close(reason)]
    assert session.phase is Phase.CLOSING


@pytest.mark.parametrize(
    ("outcome", "text", "reason"),
    [
        (LoginResult.REFUSED, "Login authentication failed", Disconnect.LOGIN_REFUSED),
        (LoginResult.INVALID_NICK, "Invalid NICK", Disconnect.INVALID_NICK),
    ],
)
def test_a_login_that_clue_refuses_is_told_why(outcome, text, reason):
    """Rule 9, by clue's answer."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK bob")
    effects = session.authenticated(LoginResult(outcome=outcome))
    assert effects == [f":tmi.twitch.tv NOTICE * :{text}\r\n".encode(), Close(reason)]


@pytest.mark.parametrize("outcome", [LoginResult.UNAVAILABLE, LoginResult.UNKNOWN])
def test_an_unavailable_login_is_no_notice_and_lets_the_client_return(outcome):
    """Rule 6: a NOTICE before 001 is a wrong password for dank; the ERROR line of the reason tells people."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK bob")
    assert session.authenticated(LoginResult(outcome=outcome)) == [Close(Disconnect.LOGIN_UNAVAILABLE)]
    assert Disconnect.LOGIN_UNAVAILABLE.may_return
    assert b"try again" in Disconnect.LOGIN_UNAVAILABLE.line()


def test_a_second_nick_ends_the_session():
    """tmi_protocol.md 3: NICK already set."""
    told = [b":tmi.twitch.tv NOTICE * :NICK already set\r\n", Close(Disconnect.NICK_ALREADY_SET)]
    assert open_session().feed(b"NICK bob") == told
    assert anonymous_session().feed(b"NICK bob") == told


@pytest.mark.parametrize("line", [b"PASS oauth:other", b"USER a b c d", b"CAP END", b"PONG", b"PONG :tmi.twitch.tv"])
def test_lines_that_need_no_answer_get_none(line):
    """PASS after the login, USER, CAP END (rule 15) and PONG (rule 34) are taken in silence."""
    assert open_session().feed(line) == []


def test_lines_are_held_while_the_login_is_under_way():
    """Rule 13: the order on the wire is the order received."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK bob")
    assert feed(session, "CAP REQ :twitch.tv/tags", "PING :x", "JOIN #c") == []
    effects = session.authenticated(accepted())
    assert sent(effects) == [
        *welcome("bob"),
        ":tmi.twitch.tv CAP * ACK :twitch.tv/tags",
        ":tmi.twitch.tv PONG tmi.twitch.tv :x",
    ]
    assert asked(effects) == [CapabilitiesChanged(), Join("#c")]


def test_held_lines_are_forgotten_when_the_login_fails():
    """Nothing is answered after the end."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK bob", "PING :x")
    effects = session.authenticated(LoginResult(outcome=LoginResult.REFUSED))
    assert effects[1:] == [Close(Disconnect.LOGIN_REFUSED)]


def test_held_lines_after_a_held_quit_are_forgotten():
    """The end is the last effect, wherever it came from."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK bob", "QUIT", "PING :x")
    effects = session.authenticated(accepted())
    assert sent(effects) == welcome("bob")
    assert effects[-1] == Close(Disconnect.QUIT)


def test_more_held_lines_than_the_bound_end_the_session():
    """A slow login does not let a session pile up lines."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK bob")
    assert feed(session, *["PING"] * MAX_HELD_LINES) == []
    assert session.feed(b"PING") == [Close(Disconnect.TOO_MANY_LINES)]
    assert session.authenticated(accepted()) == []


def test_more_lines_than_the_bound_before_the_login_end_the_session():
    """ARCHITECTURE 6: 16 lines without a login."""
    session = Session(1)
    for _ in range(16):
        assert sent(session.feed(b"PING")) == ["PONG :tmi.twitch.tv"]
    assert session.feed(b"PING") == [Close(Disconnect.TOO_MANY_LINES)]
    assert session.phase is Phase.CLOSING


def test_no_bound_on_lines_holds_after_the_login():
    """The 17th line of an open session is answered like the first."""
    session = open_session()
    for _ in range(40):
        assert sent(session.feed(b"PING")) == ["PONG :tmi.twitch.tv"]


# -- CAP ------------------------------------------------------------------------------------------------------------

ALL = "twitch.tv/tags twitch.tv/commands twitch.tv/membership"


@pytest.mark.parametrize("make", [lambda: Session(1), open_session])
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("CAP LS", f"LS :{ALL}"),
        ("CAP LS 302", f"LS :{ALL}"),
        ("cap ls", f"LS :{ALL}"),
        ("CAP LIST", "LIST :"),
        ("CAP REQ :twitch.tv/tags twitch.tv/commands", "ACK :twitch.tv/tags twitch.tv/commands"),
        ("CAP REQ :twitch.tv/commands twitch.tv/tags", "ACK :twitch.tv/commands twitch.tv/tags"),
        ("CAP REQ :twitch.tv/commands  twitch.tv/tags ", "ACK :twitch.tv/commands  twitch.tv/tags "),
        ("CAP REQ twitch.tv/tags", "ACK :twitch.tv/tags"),
        ("CAP REQ twitch.tv/tags twitch.tv/commands", "ACK :twitch.tv/tags twitch.tv/commands"),
        ("CAP REQ :-twitch.tv/tags", "ACK :-twitch.tv/tags"),
        ("CAP REQ :twitch.tv/foo", "NAK :twitch.tv/foo"),
        ("CAP REQ :twitch.tv/tags sasl", "NAK :twitch.tv/tags sasl"),
        ("CAP REQ :-sasl", "NAK :-sasl"),
    ],
)
def test_cap_is_answered_before_and_after_the_login(make, line, answer):
    """Rules 11, 12 and 15: at once, to "*", the list exactly as it was sent."""
    assert sent(make().feed(line.encode())) == [f":tmi.twitch.tv CAP * {answer}"]


def test_each_request_is_answered_by_itself():
    """Rule 12: TwitchIO and python-irc send one after the other."""
    session = Session(1)
    lines = sent(feed(session, "CAP REQ :twitch.tv/commands", "CAP REQ :twitch.tv/tags"))
    assert lines == [":tmi.twitch.tv CAP * ACK :twitch.tv/commands", ":tmi.twitch.tv CAP * ACK :twitch.tv/tags"]
    assert session.capabilities == Capability.TAGS | Capability.COMMANDS


def test_an_unknown_name_sets_nothing():
    """Rule 12: all or nothing."""
    session = open_session()
    assert asked(session.feed(b"CAP REQ :twitch.tv/tags nope")) == []
    assert session.capabilities == Capability(0)


def test_capabilities_are_switched_off_with_a_minus():
    """Rule 15, and LIST tells what is on."""
    session = open_session()
    feed(session, f"CAP REQ :{ALL}")
    assert sent(session.feed(b"CAP LIST")) == [f":tmi.twitch.tv CAP * LIST :{ALL}"]
    assert asked(session.feed(b"CAP REQ :-twitch.tv/tags")) == [CapabilitiesChanged()]
    assert sent(session.feed(b"CAP LIST")) == [":tmi.twitch.tv CAP * LIST :twitch.tv/commands twitch.tv/membership"]


def test_the_connection_is_told_of_a_change_after_its_ack():
    """The lines that follow an ACK are of the new form, none before it."""
    session = open_session()
    effects = session.feed(b"CAP REQ :twitch.tv/tags")
    assert effects == [b":tmi.twitch.tv CAP * ACK :twitch.tv/tags\r\n", CapabilitiesChanged()]
    assert asked(session.feed(b"CAP REQ :twitch.tv/tags")) == []


@pytest.mark.parametrize("line", [b"CAP NONSENSE", b"CAP ACK :x"])
def test_an_unknown_cap_subcommand_is_refused(line):
    """IRCv3 capability negotiation: 410."""
    assert sent(open_session().feed(line)) == [":tmi.twitch.tv 410 bob * :Invalid CAP command"]


IRCV3 = "batch draft/chathistory message-tags server-time"


@pytest.mark.parametrize(
    ("version", "told"), [("", []), (" 301", []), (" x", []), (" 302", [IRCV3]), (" 400", [IRCV3])]
)
def test_what_there_is_beside_twitchs_is_offered_after_the_welcome(version, told):
    """With CAP NEW, to clients that know it: the line of LS stays the one that Twitch's clients know (rule 11)."""
    session = Session(1)
    assert sent(session.feed(f"CAP LS{version}".encode())) == [f":tmi.twitch.tv CAP * LS :{ALL}"]
    feed(session, "PASS oauth:t", "NICK bob")
    lines = sent(session.authenticated(accepted()))
    assert lines[6:] == [":tmi.twitch.tv 376 bob :>", *(f":tmi.twitch.tv CAP * NEW :{names}" for names in told)]


def test_capabilities_of_ircv3_are_asked_for_like_the_others():
    """With or without an offer."""
    session = Session(1)
    assert sent(session.feed(f"CAP REQ :{IRCV3}".encode())) == [f":tmi.twitch.tv CAP * ACK :{IRCV3}"]
    assert sent(session.feed(b"CAP LIST")) == [f":tmi.twitch.tv CAP * LIST :{IRCV3}"]


def test_who_asked_for_history_is_told_its_bounds():
    """IRCv3 "chathistory": a 005 after 004; the welcome of all others is Twitch's."""
    session = Session(1)
    feed(session, "CAP REQ draft/chathistory", "PASS oauth:t", "NICK bob")
    lines = sent(session.authenticated(accepted()))
    assert len(lines) == 8
    assert lines[4] == (
        ":tmi.twitch.tv 005 bob CHATHISTORY=200 MSGREFTYPES=msgid,timestamp :are supported by this server"
    )


# -- PING, QUIT -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: Session(1), open_session, anonymous_session])
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("PING", "PONG :tmi.twitch.tv"),
        ("PING asd", ":tmi.twitch.tv PONG tmi.twitch.tv :asd"),
        ("PING :asd def", ":tmi.twitch.tv PONG tmi.twitch.tv :asd def"),
        ("PING asd def", ":tmi.twitch.tv PONG tmi.twitch.tv :asd"),
        ("PING :dank-twitch-irc:automatic:1", ":tmi.twitch.tv PONG tmi.twitch.tv :dank-twitch-irc:automatic:1"),
        ("ping tmi.twitch.tv", ":tmi.twitch.tv PONG tmi.twitch.tv :tmi.twitch.tv"),
    ],
)
def test_ping_brings_its_token_back(make, line, answer):
    """Rules 35 and 36: the first parameter unchanged; a bare PING has an answer without prefix."""
    assert sent(make().feed(line.encode())) == [answer]


@pytest.mark.parametrize("make", [lambda: Session(1), open_session])
@pytest.mark.parametrize("line", [b"QUIT", b"QUIT :bye bye"])
def test_quit_ends_the_session(make, line):
    """Rule 22; what follows is not answered."""
    session = make()
    assert session.feed(line) == [Close(Disconnect.QUIT)]
    assert session.feed(b"PING") == []


def test_a_closed_session_answers_nothing():
    """Late answers and lines find it as it is."""
    session = Session(1)
    feed(session, "PASS oauth:tok", "NICK bob")
    session.closed()
    assert session.phase is Phase.CLOSED
    assert session.authenticated(LoginResult(outcome=LoginResult.ACCEPTED, user=Chatter(login="bob"))) == []
    assert session.feed(b"PING") == []
    assert session.line_too_long() == []


def test_an_answer_that_nobody_asked_for_changes_nothing():
    """Only a NICK that asked can be accepted."""
    session = Session(1)
    assert session.authenticated(accepted()) == []
    assert session.phase is Phase.REGISTERING
