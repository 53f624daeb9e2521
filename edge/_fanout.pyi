import asyncio
from array import array

def send(
    fds: array[int], streams: list[asyncio.Transport | None], start: int, stop: int, data: bytes, /
) -> list[tuple[int, int]]: ...
