"""Which logins and channel names are valid, and how they fold."""

from __future__ import annotations

import pytest

from common.names import fold_channel, fold_login, instance_name, is_anonymous

BAD = ["", "a b", "a-b", "a.b", "é", "\u212a", "a\n", "\nbob", "a\0", "a" * 26, "#", "##a", "a,b", "*", "１"]


@pytest.mark.parametrize(("text", "login"), [("bob", "bob"), ("Bob_99", "bob_99"), ("_", "_"), ("A" * 25, "a" * 25)])
def test_valid_names_fold_to_lower_case(text, login):
    """A login is 1 to 25 letters, digits and underscores; a channel is that after "#"."""
    assert fold_login(text) == login
    assert fold_channel("#" + text) == "#" + login


@pytest.mark.parametrize("text", BAD)
def test_other_names_are_none(text):
    """Nothing else is a login, not even a letter that folds to an ASCII one."""
    assert fold_login(text) is None
    assert fold_channel("#" + text) is None


@pytest.mark.parametrize("text", ["bob", "", "&bob", "bob#"])
def test_a_channel_begins_with_a_number_sign(text):
    """A login alone is no channel."""
    assert fold_channel(text) is None


@pytest.mark.parametrize(
    ("login", "anonymous"),
    [("justinfan1", True), ("justinfan64537", True), ("justinfan", False), ("justinfan1a", False), ("bob", False)],
)
def test_justinfan_with_digits_is_anonymous(login, anonymous):
    """Only "justinfan" with digits after it is (clients.md 4)."""
    assert is_anonymous(login) is anonymous


@pytest.mark.parametrize(
    ("instance", "cluster", "name"),
    [
        ("exchange-1", "main", "exchange-1"),
        ("exchange-1", "", "exchange-1"),
        ("exchange-1", "event", "event-exchange-1"),
        ("event-exchange-1", "event", "event-exchange-1"),
        ("main-exchange-1", "main", "main-exchange-1"),
    ],
)
def test_services_of_other_clusters_are_told_apart(instance, cluster, name):
    """By their cluster in front, unless it stands there already."""
    assert instance_name(instance, cluster, "main") == name
