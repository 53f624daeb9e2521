"""Reading a Directory as clue answers it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from common.pb.clue_pb2 import Directory, Registration


def belongs(service: Registration, cluster: str) -> bool:
    """Whether it is `cluster`'s own. A service that names no cluster is of the one whose directory it stands in; guests
    name theirs.
    """
    return service.cluster in ("", cluster)


def own_edges(directory: Directory, cluster: str) -> Iterator[Registration]:
    """Without the guests."""
    return (service for service in directory.services if service.service == "edge" and belongs(service, cluster))
