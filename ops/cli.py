"""The `tallgrass` command: arguments in, one line of error out, the work in the modules beside this one."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from common.errors import TallgrassError
from common.log import FORMS
from common.pb import clue_pb2
from ops import doctor, doorkeeper, drain, joining_edge, logs, mover, status, top, trace, verify
from ops.control import Control, Target, at_home, find
from ops.data_folder import DEFAULT, VARIABLE
from ops.topology import CLUSTERS

ROLES = ("mod", "vip", "sub", "follower", "none")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Exits with status 1 and one line on stderr when it cannot be done, 2 when it is misspelled."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except TallgrassError as error:
        sys.exit(f"tallgrass: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(1)  # our reader has gone, e.g. `tallgrass status | head`


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tallgrass", description="Twitch-style chat. COMMAND --help tells more.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    up = commands.add_parser("up", help="run a whole cluster, or several, on this machine until Ctrl-C")
    up.add_argument(
        "--clusters", metavar="NAME,...", help=f"of {', '.join(CLUSTERS)} (default: main); other options are for each"
    )
    up.add_argument("--topology", metavar="FILE", help="TOML: clusters with settings of their own (docs/clusters.md)")
    up.add_argument(
        "--promote", metavar="members=N,rate=N,for=Ns,cool=Ns",
        help="send a channel of the first cluster that stays so large to event, and back when it is calm",
    )  # fmt: skip
    up.add_argument("--edges", type=int, metavar="N", help="default: 2, or 1 without HAProxy")
    up.add_argument("--clues", type=int, metavar="N", help="default: 2, or 1 without HAProxy")
    up.add_argument("--exchanges", type=int, metavar="N", help="default: 2, or 1 without HAProxy")
    up.add_argument("--redis-shards", type=int, default=2, metavar="N", help="2 to 32 (default: 2)")
    up.add_argument("--haproxies", type=int, metavar="N", help="default: 1 where it is installed; 2: one may fail")
    up.add_argument("--host", default="127.0.0.1", help="address users connect to (default: 127.0.0.1)")
    up.add_argument("--irc-port", type=_port, default=6667, metavar="PORT", help="default: 6667; 0: a free one")
    up.add_argument("--http-port", type=_port, default=8080, metavar="PORT", help="default: 8080; 0: a free one")
    up.add_argument("--auth", choices=("open", "token"), default="open", help="open: any name with any token (default)")
    up.add_argument("--limits", choices=("on", "off"), default="on", help="off: no rate limits, for benches only")
    up.add_argument("--statsd", default="", metavar="HOST:PORT", help="send metrics there")
    up.add_argument("--metrics", action="store_true", help="start statsd and Graphite too, and send metrics there")
    up.add_argument("--log-format", choices=FORMS, default="text", help="of the services' logs (default: text)")
    up.add_argument("--tls", choices=("self",), help="self: make a self-signed certificate")
    up.add_argument("--tls-cert", metavar="FILE", help="PEM certificate chain")
    up.add_argument("--tls-key", metavar="FILE", help="PEM private key")
    _add_data(up)
    up.set_defaults(run=_up)

    user = commands.add_parser("user", help="users").add_subparsers(metavar="COMMAND", required=True)
    add = user.add_parser("add", help="create a user, or give one a new token; prints the token")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--token", default="", help="default: one is made")
    add.add_argument("--display-name", default="", help="default: NAME as typed")
    _add_target(add)
    add.set_defaults(run=_user_add)

    role = commands.add_parser("role", help="grant a role in a channel")
    role.add_argument("channel", metavar="CHANNEL")
    role.add_argument("name", metavar="NAME")
    role.add_argument("role", choices=ROLES, help="none: takes all roles away")
    _add_target(role)
    role.set_defaults(run=_role)

    shown = commands.add_parser("status", help="what runs, where, with how many sessions")
    shown.add_argument("--json", action="store_true", help="everything, for programs")
    _add_target(shown)
    shown.set_defaults(run=_status)

    mover.add_parser(commands, _add_data)
    drain.add_parser(commands, _add_target)
    joining_edge.add_parser(commands, _add_data)
    doorkeeper.add_parser(commands, _add_target)
    verify.add_parser(commands, _add_target)
    doctor.add_parser(commands, _add_target)
    logs.add_parser(commands, _add_data)
    trace.add_parser(commands, _add_data)
    top.add_parser(commands, _add_data)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get(VARIABLE) or DEFAULT
    parser.add_argument("--data", default=default, metavar="DIR", help=f"default: ${VARIABLE} or {DEFAULT}")


def _add_target(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    parser.add_argument("--cluster", default="", metavar="NAME", help="one of the local stack's")
    parser.add_argument("--control", default="", metavar="HOST:PORT", help="a clue of another machine's stack")
    parser.add_argument(
        "--control-token",
        default=os.environ.get("TALLGRASS_CONTROL_TOKEN", ""),
        metavar="TOKEN",
        help="default: $TALLGRASS_CONTROL_TOKEN, or the data folder's",
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return port


def _up(arguments: argparse.Namespace) -> None:
    from ops import up  # a third of a second of imports that the other commands need not wait for

    up.run(arguments)


def _target(arguments: argparse.Namespace) -> Target:
    return find(
        data=arguments.data, control=arguments.control, token=arguments.control_token, cluster=arguments.cluster
    )


def _user_add(arguments: argparse.Namespace) -> None:
    control = Control(_target(arguments))
    reply = asyncio.run(control.add_user(arguments.name, arguments.token, arguments.display_name))
    print(reply.token)


def _role(arguments: argparse.Namespace) -> None:
    reply = asyncio.run(_set_role(_target(arguments), arguments))
    print("done" if reply.changed else "it was so already")


async def _set_role(target: Target, arguments: argparse.Namespace) -> clue_pb2.ChangeReply:
    control = Control(await at_home(target, arguments.channel))
    return await control.set_role(arguments.channel, arguments.name, arguments.role)


def _status(arguments: argparse.Namespace) -> None:
    target = _target(arguments)
    facts = asyncio.run(status.collect(target))
    print(status.as_json(facts) if arguments.json else status.as_text(facts))


if __name__ == "__main__":
    main()
