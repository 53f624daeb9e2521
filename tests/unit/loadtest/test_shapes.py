import pytest

from loadtest.plan import RAIDED
from loadtest.shapes import RAID_S, herds_at, timeline
from tests.unit.loadtest.plans import plan


def test_tpp_grows_from_a_tenth_to_all():
    """5,000, 20,000 and 50,000 viewers, compressed into the time there is."""
    line = timeline(plan(shape="tpp", viewers=50_000, seconds=100))
    assert [line.share(second) * 50_000 for second in (0, 19, 40, 55, 80, 100)] == [
        pytest.approx(n) for n in (5_000, 5_000, 20_000, 20_000, 50_000, 50_000)
    ]
    assert line.gather == 0.1
    shares = [line.share(second) for second in range(101)]
    assert shares == sorted(shares)


def test_a_raid_moves_everybody_within_five_seconds():
    """The audience of one channel lands in another while messages go on."""
    (event,) = timeline(plan(shape="raid", seconds=60)).events
    assert (event.name, event.channel, event.over_s) == ("move", RAIDED, RAID_S)
    assert 0 < event.at < 60


def test_a_storm_is_one_moment():
    """In a storm everybody goes at once, when all have gathered."""
    line = timeline(plan(shape="storm", seconds=60))
    assert [event.name for event in line.events] == ["scatter"]
    assert line.gather == 1.0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_there_are_as_many_herds_as_viewers_need(share):
    """A share of the crowd in whole herds; never none."""
    made = plan(viewers=10_000)
    assert herds_at(made, share) == max(1, round(made.herds * share))
