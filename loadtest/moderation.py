"""What a moderator does, and how its own screen must show that it was done (tmi_protocol sections 10 to 12).

Pure: acts are lines to send and signs to wait for; `Watch` is fed with what the moderator hears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.irc.message import Message

ANSWER_S = 10.0              # an edge answers within 6 s; the room hears of it within one more
SPAM = "BUY FOLLOWERS"
_TIMEOUT_S = 60
_SLOW_S = 3


@dataclass(frozen=True, slots=True)
class Sign:
    """A line that has to come. `last`: its last parameter, "" for a line that names the channel only, None for any."""

    command: str
    last: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def is_met_by(self, message: Message) -> bool:
        if message.command != self.command:
            return False
        if self.last is not None and message.params[1:] != ((self.last,) if self.last else ()):
            return False
        return all(message.tags.get(name) == value for name, value in self.tags.items())

    def __str__(self) -> str:
        tags = " ".join(f"{name}={value}" for name, value in self.tags.items())
        return " ".join(part for part in (self.command, self.last, tags) if part)


@dataclass(frozen=True, slots=True)
class Act:
    line: str                # as it is typed; {id} stands for the last message seen
    signs: tuple[Sign, ...]

    @property
    def name(self) -> str:
        return self.line.partition(" ")[0]


def acts(troublemaker: str) -> list[tuple[Act, ...]]:
    """Everything once; those of one group follow each other at once, so that no mode stays on for long."""
    time = str(_TIMEOUT_S)
    return [
        (_punished(f"/timeout {troublemaker} {time}", "timeout", troublemaker, {"ban-duration": time}),),
        (Act(f"/untimeout {troublemaker}", (_told("untimeout_success"),)),),
        (Act("/delete {id}", (Sign("CLEARMSG", tags={"target-msg-id": "{id}"}), _told("delete_message_success"))),),
        (_punished(f"/ban {troublemaker}", "ban", troublemaker, {}),),
        (Act(f"/unban {troublemaker}", (_told("unban_success"),)),),
        (Act("/clear", (Sign("CLEARCHAT", ""),)),),
        _mode("/emoteonly", "/emoteonlyoff", "emote-only", "emote_only"),
        _mode(f"/slow {_SLOW_S}", "/slowoff", "slow", "slow", str(_SLOW_S)),
        _mode("/uniquechat", "/uniquechatoff", "r9k", "r9k"),
    ]  # fmt: skip


def _told(msg_id: str) -> Sign:
    return Sign("NOTICE", tags={"msg-id": msg_id})


def _punished(line: str, kind: str, login: str, tags: Mapping[str, str]) -> Act:
    return Act(line, (Sign("CLEARCHAT", login, tags), _told(f"{kind}_success")))


def _mode(on: str, off: str, tag: str, notice: str, value: str = "1") -> tuple[Act, Act]:
    return (
        Act(on, (Sign("ROOMSTATE", tags={tag: value}), _told(f"{notice}_on"))),
        Act(off, (Sign("ROOMSTATE", tags={tag: "0"}), _told(f"{notice}_off"))),
    )


class Watch:
    """What one moderator hears of its channel."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._last_id = ""
        self._open: list[Sign] = []
        self._done: Callable[[], object] | None = None

    def prepare(self, act: Act, done: Callable[[], object]) -> str | None:
        """The line to send now; `done` is called once all its signs were seen. None: there is nothing to do it to."""
        signs, line = list(act.signs), act.line
        if "{id}" in line:
            if not self._last_id:
                return None
            line = line.replace("{id}", self._last_id)
            signs = [Sign(sign.command, sign.last, _filled(sign.tags, self._last_id)) for sign in signs]
        self._open, self._done = signs, done
        return line

    def take(self, message: Message) -> None:
        if not message.params or message.params[0] != self._channel:
            return
        if message.command == "PRIVMSG":
            self._last_id = message.tags.get("id", "")
            return
        if not self._open:
            return
        self._open = [sign for sign in self._open if not sign.is_met_by(message)]
        if not self._open and self._done is not None:
            self._done()

    def missing(self) -> str:
        """The signs that have not come."""
        return ", ".join(str(sign) for sign in self._open)


def _filled(tags: Mapping[str, str], message_id: str) -> dict[str, str]:
    return {name: value.replace("{id}", message_id) for name, value in tags.items()}
