from array import array

from edge.transports.sockets import Stream

def send(
    fds: array[int], streams: list[Stream | None], start: int, stop: int, data: bytes, /
) -> list[tuple[int, int]]: ...
