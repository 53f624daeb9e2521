"""Messages that are followed from hop to hop: each service writes a line `trace` when one passes (`tallgrass trace`).

Its id alone tells which messages these are: its last four hexadecimal digits are MARK. So the edge that gives the id
decides for all hops, and nothing else has to travel. (One in 65,536 others ends so by chance, and is followed, too.)
"""

from __future__ import annotations

import time

from common.log import Log

MARK = "7ace"


def is_traced(message_id: str) -> bool:
    return message_id.endswith(MARK)


def marked(message_id: str) -> str:
    """The same id, followed. A UUID stays one of its version: its last digits are random ones."""
    return message_id[: -len(MARK)] + MARK


def now_us() -> int:
    """UNIX microseconds, by this machine's clock."""
    return time.time_ns() // 1_000


def passed(log: Log, hop: str, message_id: str, channel: str, at_us: int | None = None, **more: object) -> None:
    """The line. `hop`: what happened to it here; `at_us`: when, if not now."""
    log.info("trace", id=message_id, hop=hop, at=at_us or now_us(), channel=channel, **more)
