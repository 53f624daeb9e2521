"""docs/dialect.md against the code, and every msg-id against a test that does what a person would do."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from clue import verdict
from clue.command_names import IMPLEMENTED, UNAVAILABLE
from clue.commands import COMMANDS
from clue.commands.notices import TEXTS
from edge.api.operations import OPERATIONS
from edge.api.outcomes import DENIALS, STATUSES
from tests.wire.test_usage import USAGES

ROOT = Path(__file__).resolve().parent.parent.parent.parent
DOCUMENT = (ROOT / "docs" / "dialect.md").read_text()


def _names(text: str) -> set[str]:
    return set(text.split())


# Section 10a of the dialect: still documented.
DOCUMENTED = _names("""
    emote_only_on emote_only_off followers_on followers_on_zero followers_off msg_bad_characters msg_banned
    msg_channel_blocked msg_channel_suspended msg_duplicate msg_emoteonly msg_followersonly msg_followersonly_followed
    msg_followersonly_zero msg_r9k msg_ratelimit msg_rejected msg_rejected_mandatory
    msg_requires_verified_phone_number msg_slowmode msg_subsonly msg_suspended msg_timedout msg_verified_email slow_on
    slow_off subs_on subs_off tos_ban unrecognized_cmd
""")
# Section 10b: of slash commands, documented until 2023.
OF_COMMANDS = _names("""
    r9k_on r9k_off already_emote_only_on already_emote_only_off already_followers_on already_followers_off
    already_r9k_on already_r9k_off already_slow_on already_slow_off already_subs_on already_subs_off bad_slow_duration
    ban_success already_banned bad_ban_admin bad_ban_anon bad_ban_broadcaster bad_ban_mod bad_ban_self bad_ban_staff
    unban_success bad_unban_no_ban timeout_success timeout_no_timeout untimeout_success untimeout_banned
    bad_timeout_admin bad_timeout_anon bad_timeout_broadcaster bad_timeout_mod bad_timeout_self bad_timeout_staff
    bad_timeout_duration delete_message_success delete_staff_message_success bad_delete_message_broadcaster
    bad_delete_message_mod mod_success unmod_success bad_mod_banned bad_mod_mod bad_unmod_mod room_mods no_mods
    vip_success unvip_success vips_success no_vips bad_vip_grantee_banned bad_vip_grantee_already_vip
    bad_unvip_grantee_not_vip bad_vip_max_vips_reached bad_vip_achievement_incomplete color_changed turbo_only_color
    commercial_success bad_commercial_error cmds_available no_help no_permission invalid_user unavailable_command
    host_on host_off not_hosting host_receive host_receive_no_count autohost_receive host_target_went_offline
    hosts_remaining bad_host_error bad_host_hosting bad_host_rate_exceeded bad_host_rejected bad_host_self
    bad_unhost_error raid_error_already_raiding raid_error_forbidden raid_error_self raid_error_too_many_viewers
    raid_error_unexpected raid_notice_mature raid_notice_restricted_chat unraid_success unraid_error_no_active_raid
    unraid_error_unexpected whisper_banned whisper_banned_recipient whisper_invalid_login whisper_invalid_self
    whisper_limit_per_min whisper_limit_per_sec whisper_restricted whisper_restricted_recipient
""") | {f"usage_{name}" for name in _names("""
    ban clear color commercial delete disconnect emote_only_on emote_only_off followers_on followers_off help host
    marker me mod mods r9k_on r9k_off raid slow_on slow_off subs_on subs_off timeout unban unhost unmod unraid untimeout
    unvip user vip vips whisper
""")}  # fmt: skip

# Written by the edge for every reader when a mode has changed (edge/render.py).
OF_MODES = {
    f"{mode}_{state}" for mode in ("emote_only", "followers", "r9k", "slow", "subs") for state in ("on", "off")
} | {"followers_on_zero"}
PRODUCED = {*verdict._TEXTS, *TEXTS, *OF_MODES, *(f"usage_{command.usage_id}" for command in COMMANDS.values())}

# Only a fault or a clock that is wound forward brings them about: tested below the wire.
BELOW_THE_WIRE = {
    "command_unavailable", "msg_suspended", "msg_unavailable", "raid_error_unexpected", "whisper_limit_per_min",
}  # fmt: skip
# Of temporary rooms: tests of clusters.
ELSEWHERE = {"no_such_room", "room_invite_only"}


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading: the names in the first column, and the other columns."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section, heading
    rows = {}
    for line in section[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        for name in re.findall(r"`([^`]+)`", cells[0]) if line.startswith("| `") else ():
            assert name not in rows, name
            rows[name] = cells[1:]
    return rows


@functools.cache
def literals(folder: str) -> set[str]:
    """The strings in a folder's tests."""
    found = set()
    for file in (ROOT / "tests" / folder).glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_id_is_produced_or_not_for_a_reason():
    """What the dialect has and is not produced here stands in the document, with why; nothing else does."""
    reasons = table("Not produced")
    assert set(reasons) == (DOCUMENTED | OF_COMMANDS) - PRODUCED
    assert all(reason[0] for reason in reasons.values())


def test_our_own_ids_are_documented():
    """Those that Twitch does not have."""
    assert set(table("Our own")) == PRODUCED - DOCUMENTED - OF_COMMANDS | {"msg_held", "msg_approved", "msg_denied"}


@pytest.mark.parametrize("msg_id", sorted(PRODUCED - ELSEWHERE))
def test_every_id_is_met_in_a_test(msg_id):
    """On the wire, by doing what a person would; a few only below it."""
    usages = {f"usage_{usage}" for usage, _, _ in USAGES}
    folder = "service" if msg_id in BELOW_THE_WIRE else "wire"
    assert msg_id in literals(folder) | usages


def test_the_commands_are_documented():
    """All that are carried out, and all that are known but not here."""
    assert {name.removeprefix("/") for name in table("Slash commands")} == IMPLEMENTED
    assert {name.removeprefix("/") for name in table("Commands that are not here")} == UNAVAILABLE


def test_the_operations_are_documented():
    """Of the control API."""
    assert set(table("Control API")) == {f"{operation.method} {operation.path}" for operation in OPERATIONS}


def test_the_api_knows_every_answer():
    """Each notice is a success, or has a status of its own; each refusal has one."""
    successes = {
        "already_chat_delay_off", "already_chat_delay_on", "already_emote_only_off", "already_emote_only_on",
        "already_followers_off", "already_followers_on", "already_followers_on_zero", "already_r9k_off",
        "already_r9k_on", "already_slow_off", "already_slow_on", "already_subs_off", "already_subs_on", "ban_success",
        "chat_delay_off", "chat_delay_on", "color_changed", "delete_message_success", "delete_staff_message_success",
        "mod_success", "raid_notice_restricted_chat", "timeout_success", "unban_success", "unmod_success",
        "unraid_success", "unvip_success", "vip_success",
    }  # fmt: skip
    # The API has no command that answers so.
    no_command = {
        "cmds_available", "held_approved", "held_denied", "held_gone", "no_help", "no_mods", "no_vips", "room_mods",
        "timeout_no_timeout", "unavailable_command", "untimeout_banned", "untimeout_success", "user_info",
        "vips_success",
    }  # fmt: skip
    assert TEXTS.keys() == STATUSES.keys() | successes | no_command
    assert not STATUSES.keys() & (successes | no_command)
    assert DENIALS.keys() <= verdict._TEXTS.keys()
