"""Who wants which channel."""

from exchange.interest import Interest


def test_first_and_last_reader_are_told():
    """Only the first add and the last remove of a channel answer True."""
    interest = Interest()
    assert interest.add("#a", "edge-1") is True
    assert interest.add("#a", "edge-2") is False
    assert interest.add("#a", "edge-1") is False
    assert interest.remove("#a", "edge-1") is False
    assert interest.remove("#a", "edge-2") is True
    assert interest.readers("#a") == frozenset()


def test_remove_of_what_was_never_wanted_changes_nothing():
    """Removing from an unknown channel, or for another reader, answers False and leaves the readers."""
    interest = Interest()
    interest.add("#a", "edge-1")
    assert interest.remove("#b", "edge-1") is False
    assert interest.remove("#a", "edge-2") is False
    assert set(interest.readers("#a")) == {"edge-1"}


def test_drop_takes_all_of_a_readers_interest():
    """After drop the reader wants nothing, and the channels it alone wanted are named."""
    interest = Interest()
    interest.add("#a", "edge-1")
    interest.add("#b", "edge-1")
    interest.add("#b", "edge-2")
    assert interest.drop("edge-1") == ["#a"]
    assert set(interest.readers("#b")) == {"edge-2"}
    assert interest.channels("edge-1") == 0
    assert len(interest) == 1
    assert interest.drop("edge-1") == []
