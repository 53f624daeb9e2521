"""Which channels are sent to the event cluster, and when they come back. Times are given."""

from __future__ import annotations

import pytest

from common.errors import ConfigError
from common.pb import clue_pb2
from ops.promoter import Decision, Heat, Promoter, Promotion, heats, parse

RULE = Promotion(members=100, rate=10.0, for_s=30.0, cool_s=60.0)
HOT, CALM = Heat(150, 1.0), Heat(5, 0.5)


def go(promoter: Promoter, now: float, homes: dict[str, str] | None = None, **channels: Heat) -> Decision | None:
    return promoter.decide({f"#{name}": heat for name, heat in channels.items()}, homes or {}, now)


def test_a_channel_that_stays_hot_goes() -> None:
    promoter = Promoter(RULE, "main")
    assert go(promoter, 0, tpp=HOT) is None
    assert go(promoter, 29, tpp=HOT) is None
    decision = go(promoter, 30, tpp=HOT)
    assert decision is not None
    assert (decision.channel, decision.to) == ("#tpp", "event")
    assert "150 members, 1.0 messages/s for 30 s" in decision.why


def test_the_rate_alone_makes_it_hot() -> None:
    promoter = Promoter(RULE, "main")
    go(promoter, 0, tpp=Heat(1, 10.0))
    assert go(promoter, 30, tpp=Heat(1, 10.0)) is not None


def test_a_pause_begins_the_time_again() -> None:
    promoter = Promoter(RULE, "main")
    go(promoter, 0, tpp=HOT)
    go(promoter, 20, tpp=CALM)
    go(promoter, 25, tpp=HOT)
    assert go(promoter, 50, tpp=HOT) is None
    assert go(promoter, 55, tpp=HOT) is not None


def test_the_largest_goes_first() -> None:
    promoter = Promoter(RULE, "main")
    go(promoter, 0, small=HOT, large=Heat(900, 1.0))
    decision = go(promoter, 30, small=HOT, large=Heat(900, 1.0))
    assert decision is not None
    assert decision.channel == "#large"


def test_one_that_was_promoted_comes_back_when_it_has_been_calm() -> None:
    promoter = Promoter(RULE, "main")
    promoter.moved(Decision("#tpp", "event", ""))
    homes = {"#tpp": "event"}
    assert go(promoter, 0, homes, tpp=CALM) is None
    assert go(promoter, 30, homes, tpp=HOT) is None  # begins again
    assert go(promoter, 31, homes, tpp=CALM) is None
    assert go(promoter, 90, homes) is None  # on nobody's list: calm
    decision = go(promoter, 91, homes)
    assert decision is not None
    assert (decision.channel, decision.to) == ("#tpp", "main")


def test_what_people_moved_is_left_alone() -> None:
    """Neither brought back from event, nor taken from another cluster."""
    promoter = Promoter(RULE, "main")
    homes = {"#byhand": "event", "#else": "group"}
    go(promoter, 0, homes, byhand=CALM, **{"else": HOT})
    assert go(promoter, 1000, homes, byhand=CALM, **{"else": HOT}) is None


def test_one_that_people_took_from_event_is_forgotten() -> None:
    promoter = Promoter(RULE, "main", ["#tpp"])
    assert go(promoter, 0, {"#tpp": "group"}) is None
    assert promoter.promoted == set()


def test_rooms_and_inboxes_stay() -> None:
    promoter = Promoter(RULE, "main")
    loads = {"#_room": HOT, "@ann": HOT}
    promoter.decide(loads, {}, 0)
    assert promoter.decide(loads, {}, 100) is None


def test_after_a_failure_the_time_begins_again() -> None:
    promoter = Promoter(RULE, "main")
    go(promoter, 0, tpp=HOT)
    decision = go(promoter, 30, tpp=HOT)
    assert decision is not None
    promoter.failed(decision)
    assert go(promoter, 31, tpp=HOT) is None
    assert go(promoter, 61, tpp=HOT) is not None


def test_members_are_summed_over_the_edges_of_all_clusters_once_each() -> None:
    def edge(cluster: str, name: str, members: int) -> clue_pb2.Registration:
        load = clue_pb2.ChannelLoad(channel="#tpp", members=members, rate=7.0)
        return clue_pb2.Registration(service="edge", cluster=cluster, instance=name, largest=[load])

    directory = clue_pb2.Directory(
        services=[edge("main", "edge-1", 10), edge("event", "edge-1", 5)],
        clusters=[
            clue_pb2.Cluster(name="main", edges=[edge("main", "edge-1", 9)]),
            clue_pb2.Cluster(name="event", edges=[edge("event", "edge-1", 5), edge("event", "edge-2", 3)]),
        ],
    )
    assert heats(directory) == {"#tpp": Heat(18, 7.0)}


def test_the_option_is_read() -> None:
    assert parse("members=9,rate=2.5,for=3s,cool=4") == Promotion(9, 2.5, 3.0, 4.0)
    assert parse("members=9") == Promotion(members=9)


@pytest.mark.parametrize("text", ["size=3", "members", "members=many", "members=1.5", "for=-1s", "rate=0"])
def test_what_it_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)
