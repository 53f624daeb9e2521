"""Key to slot, slot to lane, lane to shard. Pure.

The slot is Redis Cluster's (cluster specification, "Key distribution model": CRC16-XMODEM of the hash tag, modulo
16,384), so a data set can move between a list of plain servers and Redis Cluster without renaming a key.
"""

from __future__ import annotations

from binascii import crc_hqx

SLOTS = 16_384
LANES = 32
SLOTS_PER_LANE = SLOTS // LANES


def hash_tag(key: str) -> str:
    """The part of `key` that is hashed: what stands in its first non-empty braces, else all of it."""
    start = key.find("{")
    if start == -1:
        return key
    end = key.find("}", start + 1)
    if end <= start + 1:
        return key
    return key[start + 1 : end]


def slot(key: str) -> int:
    """0 to 16,383, the same number as CLUSTER KEYSLOT."""
    return crc_hqx(hash_tag(key).encode(), 0) % SLOTS


def lane(key: str) -> int:
    """0 to 31: the 512 neighbouring slots that are batched together."""
    return slot(key) // SLOTS_PER_LANE


def shard(key: str, shards: int) -> int:
    """Index into a list of `shards` plain servers (1 to 32).

    Whole lanes go to a shard, so a batch of one lane never meets two servers. When servers are added, neighbouring
    lanes move and their keys have to be copied first: this list is configuration, not discovery.
    """
    return lane(key) * shards // LANES
