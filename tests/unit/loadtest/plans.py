"""Plans and targets that go nowhere."""

from loadtest.plan import Plan
from loadtest.target import Target

EDGES = {
    "edge-1": {"irc": "127.0.0.1:1001", "http": "127.0.0.1:1002", "ircs": "127.0.0.1:1003", "https": "127.0.0.1:1004"},
    "edge-2": {"irc": "127.0.0.1:2001", "http": "127.0.0.1:2002", "ircs": "127.0.0.1:2003", "https": "127.0.0.1:2004"},
}


def target(**changes):
    given = {
        "name": "a stack", "cluster": "test", "irc": "127.0.0.1:6667", "ws": "127.0.0.1:8080", "ircs": "127.0.0.1:6697",
        "wss": "127.0.0.1:8443", "edges": EDGES,
    }  # fmt: skip
    return Target(**{**given, **changes})


def plan(**changes):
    given = {"shape": "steady", "target": target(), "viewers": 1_000, "rate": 30.0, "seconds": 60.0}
    return Plan(**{**given, **changes})
