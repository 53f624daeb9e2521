"""What clue's answers are over HTTP: one table from the dialect's msg-ids to statuses. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from common.pb import api_pb2
from common.pb.clue_pb2 import Verdict


class Refused(Exception):
    """The request is answered with an error. `status`: of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = HTTPStatus(status)


# What a command answers that was not done; the message is the notice's own text. Those that are not here say that it
# was done, or that it was so already.
STATUSES = {
    "already_banned": 400,
    **{
        f"bad_{do}_{whom}": 400
        for do in ("ban", "timeout")
        for whom in ("admin", "anon", "broadcaster", "mod", "self", "staff")
    },
    "bad_delete_message_broadcaster": 400,
    "bad_delete_message_error": 404,
    "bad_delete_message_mod": 400,
    "bad_mod_banned": 400,
    "bad_mod_mod": 400,
    "bad_slow_duration": 400,
    "bad_timeout_duration": 400,
    "bad_unban_no_ban": 400,
    "bad_unmod_mod": 400,
    "bad_unvip_grantee_not_vip": 422,
    "bad_vip_grantee_already_vip": 422,
    "bad_vip_grantee_banned": 422,
    "bad_vip_max_vips_reached": 409,
    "command_unavailable": 503,
    "invalid_user": 404,
    "no_permission": 403,
    "raid_error_already_raiding": 409,
    "raid_error_forbidden": 400,
    "raid_error_self": 400,
    "raid_error_unexpected": 503,
    "unraid_error_no_active_raid": 404,
    "whisper_invalid_login": 404,
    "whisper_invalid_self": 400,
    "whisper_limit_per_min": 429,
    "whisper_limit_per_sec": 429,
}
# What meets commands before they are carried out.
DENIALS = {
    "msg_bad_characters": 400,
    "msg_banned": 403,
    "msg_channel_suspended": 404,
    "msg_ratelimit": 429,
    "msg_suspended": 403,
    "msg_timedout": 403,
    "msg_unavailable": 503,
}

_UNCONFIRMED = "chat is unavailable at the moment; it may or may not have been done. Look, then try again"

_STANDINGS = {
    api_pb2.Standing.NO_TOKEN: (401, "Invalid OAuth token"),
    api_pb2.Standing.OTHER_USER: (
        401, "The acting user's ID must match the user ID found in the request's OAuth token.",
    ),
    api_pb2.Standing.LIMITED: (429, "too many requests; Ratelimit-Reset says when there may be more"),
    api_pb2.Standing.NO_CHANNEL: (404, "the broadcaster was not found"),
    api_pb2.Standing.NO_PERMISSION: (403, "the user is not one of the broadcaster's moderators"),
    api_pb2.Standing.NO_TARGET: (404, "the user was not found"),
    api_pb2.Standing.BAD_CURSOR: (400, "after: not a cursor of an earlier answer"),
}  # fmt: skip


def check_standing(standing: api_pb2.Standing) -> None:
    """Raises Refused when the request was."""
    if standing.outcome != api_pb2.Standing.ACCEPTED:
        status, message = _STANDINGS.get(standing.outcome, (503, "chat is unavailable at the moment; try again"))
        raise Refused(status, message)


def check_done(verdicts: Iterable[Verdict]) -> None:
    """Raises Refused when one of these commands was not done."""
    for verdict in verdicts:
        if verdict.outcome == Verdict.DENIED:
            raise Refused(DENIALS.get(verdict.denial, 400), verdict.notice)
        if verdict.outcome != Verdict.COMMAND:
            raise Refused(503, _UNCONFIRMED)
        for notice in verdict.notices:
            status = 400 if notice.msg_id.startswith("usage_") else STATUSES.get(notice.msg_id, 0)
            if status:
                raise Refused(status, notice.text)


def drop_reason(verdict: Verdict) -> tuple[str, str] | None:
    """Code and message of why a message was not sent; None: it was. Raises Refused when that is not known."""
    if verdict.outcome == Verdict.ALLOWED:
        return None
    if verdict.outcome == Verdict.DENIED:
        return verdict.denial, verdict.notice
    if verdict.outcome == Verdict.COMMAND and verdict.notices:
        return verdict.notices[0].msg_id, verdict.notices[0].text
    raise Refused(503, _UNCONFIRMED)


def limit_headers(standing: api_pb2.Standing) -> dict[str, str]:
    """{}: nothing is limited."""
    if not standing.limit:
        return {}
    return {
        "Ratelimit-Limit": str(standing.limit),
        "Ratelimit-Remaining": str(standing.remaining),
        "Ratelimit-Reset": str(standing.reset_s),
    }
