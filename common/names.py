"""Logins and channel names: which are valid, and their one folded form.

A login is 1 to 25 of a-z, 0-9 and "_" after folding to lower case; a channel is "#" and its owner's login
(tmi_protocol.md 1). Only ASCII is folded: str.lower() alone would turn the Kelvin sign into a "k".
"""

from __future__ import annotations

import re

_LOGIN = re.compile(r"[A-Za-z0-9_]{1,25}", re.ASCII).fullmatch
_CHANNEL = re.compile(r"#[A-Za-z0-9_]{1,25}", re.ASCII).fullmatch
_ANONYMOUS = re.compile(r"justinfan[0-9]+", re.ASCII).fullmatch


def fold_login(text: str) -> str | None:
    """The login that `text` means; None: it means none."""
    return text.lower() if _LOGIN(text) else None


def fold_channel(text: str) -> str | None:
    """The channel ("#login") that `text` means; None: it means none."""
    return text.lower() if _CHANNEL(text) else None


def is_anonymous(login: str) -> bool:
    """Whether a folded login is one that anybody may read under, without a token (clients.md 4)."""
    return _ANONYMOUS(login) is not None


def instance_name(instance: str, cluster: str, own: str) -> str:
    """How a service of `cluster` is called in the metrics and logs of one of `own`: "event-exchange-1". Its own name
    when it is of the same cluster ("": is), or has the cluster's name already.
    """
    if cluster in ("", own) or instance.startswith(f"{cluster}-"):
        return instance
    return f"{cluster}-{instance}"
