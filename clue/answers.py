"""What is kept of a command's answer with its batch, so that a repeat is answered the same, and what was to follow it
is done again (which changes nothing the second time). Pure.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from clue.commands.shape import Answer, Effect, Post, Recolor, ToModerators
from common.pb import chat_pb2, clue_pb2


class Kept(NamedTuple):
    verdict: clue_pb2.Verdict
    effects: tuple[Effect, ...] = ()


_LETTERS: dict[type, str] = {Post: "p", ToModerators: "m", Recolor: "c"}


def of(answer: Answer, chatter: chat_pb2.Chatter | None = None) -> Kept:
    """`chatter`: the author, who is shown its own state where nothing is said, or where its look has changed."""
    notices = [
        clue_pb2.Notice(msg_id=notice.msg_id, text=notice.text, target_user_ids=map(str, notice.targets))
        for notice in answer.notices
    ]
    verdict = clue_pb2.Verdict(outcome=clue_pb2.Verdict.COMMAND, notices=notices, disconnect=answer.disconnect)
    colors = [effect.color for effect in answer.effects if isinstance(effect, Recolor)]
    if chatter is not None and (colors or not notices):
        verdict.chatter.CopyFrom(chatter)
        verdict.chatter.color = colors[-1] if colors else chatter.color
    return Kept(verdict, answer.effects)


def token(kept: Kept) -> str:
    """As commit.lua keeps it: "=<verdict>,<letter><field>.<field>,..."."""
    parts = [_written(kept.verdict.SerializeToString())]
    parts += [_LETTERS[type(effect)] + ".".join(_written(field) for field in effect) for effect in kept.effects]
    return "=" + ",".join(parts)


def from_token(text: str) -> Kept:
    verdict, *effects = text[1:].split(",")
    return Kept(clue_pb2.Verdict.FromString(urlsafe_b64decode(verdict)), tuple(map(_effect, effects)))


def _effect(text: str) -> Effect:
    fields = list(map(urlsafe_b64decode, text[1:].split(".")))
    if text[0] == "p":
        return Post(fields[0].decode(), fields[1])
    if text[0] == "m":
        return ToModerators(fields[0])
    return Recolor(fields[0].decode(), fields[1].decode())


def _written(value: str | bytes) -> str:
    return urlsafe_b64encode(value.encode() if isinstance(value, str) else value).decode()
