"""How long a thread's turns of the CPU are, as the kernel says."""

import contextlib
import ctypes
import os
import platform
import struct
from pathlib import Path

_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
KNOWN = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 12)  # to the kernel


def turn_ns(thread: int) -> int:
    attributes = ctypes.create_string_buffer(48)
    number = _SCHED_GETATTR[platform.machine()]
    if ctypes.CDLL(None, use_errno=True).syscall(number, thread, attributes, len(attributes), 0):
        raise OSError(ctypes.get_errno(), f"sched_getattr of {thread}")
    turn: int = struct.unpack("=IIQiIQQQ", attributes.raw)[5]
    return turn


def turns_ns(pid: int) -> set[int]:
    """Of all threads. gRPC's come and go: one that has ended meanwhile has none."""
    turns = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            turns.add(turn_ns(int(thread.name)))
    return turns


def own_turn_ns() -> int:
    return turn_ns(os.getpid())
