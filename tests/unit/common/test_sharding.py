"""Where a key lives must never drift: a change would lose every channel's log and every user."""

import pytest

from common import sharding


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        # Redis Cluster's own examples (cluster specification), then ours; all asked of CLUSTER KEYSLOT.
        ("123456789", 12739),
        ("foo", 12182),
        ("foo{hash_tag}", 2515),
        ("{user1000}.following", 3443),
        ("{user1000}.followers", 3443),
        ("foo{}{bar}", 8363),
        ("foo{{bar}}zap", 4015),
        ("foo{bar}{zap}", 5061),
        ("", 0),
        ("{#tallgrass}:log", 11943),
        ("{@bob}:user", 3175),
        ("{directory}:services", 437),
        ("{ids}:users", 3296),
    ],
)
def test_slot(key, slot):
    """The slot is Redis Cluster's."""
    assert sharding.slot(key) == slot


@pytest.mark.parametrize(
    ("key", "lane"), [("{#tallgrass}:log", 23), ("{@bob}:user", 6), ("foo", 23), ("", 0), ("123456789", 24)]
)
def test_lane(key, lane):
    """A lane is 512 neighbouring slots."""
    assert sharding.lane(key) == lane


@pytest.mark.parametrize(
    ("key", "shards", "shard"),
    [
        ("{#tallgrass}:log", 1, 0),
        ("{#tallgrass}:log", 8, 5),
        ("{@bob}:user", 2, 0),
        ("{@bob}:user", 3, 0),
        ("{@bob}:user", 32, 6),
        ("foo", 2, 1),
        ("foo", 5, 3),
    ],
)
def test_shard(key, shards, shard):
    """Neighbouring lanes go to a shard, the same for ever."""
    assert sharding.shard(key, shards) == shard


@pytest.mark.parametrize("shards", range(1, 33))
def test_whole_lanes(shards):
    """A lane lies on one shard, and no shard is without a lane."""
    places = [lane * shards // sharding.LANES for lane in range(sharding.LANES)]
    assert sorted(set(places)) == list(range(shards))
    assert places == sorted(places)
