"""ops/trace.py: lines of several logs into one message's way."""

import argparse
import json

import pytest

from common.errors import ConfigError
from common.trace import marked
from ops import trace

ID = marked("73296e6a-3c9f-4070-8343-5b489ca90000")


def line(who, hop, at, **more):
    fields = "".join(f" {key}={value}" for key, value in more.items())
    return f"2026-11-22T04:25:01.025Z info    {who} trace id={ID} hop={hop} at={at} channel=#rose{fields}\n"


def logs(folder, **files):
    (folder / "logs").mkdir()
    for name, text in files.items():
        (folder / "logs" / f"{name.replace('_', '-')}.log").write_text(text)
    return trace.Ways(folder)


def test_hops_of_all_logs_are_put_in_the_order_of_time(tmp_path):
    """Text and JSON lines alike; lines of other events, torn and strange ones are passed over."""
    as_json = {
        "time": "2026-11-22T04:25:01.030Z", "level": "info", "service": "exchange", "instance": "exchange-1",
        "cluster": "main", "event": "trace", "id": ID, "hop": "queued", "at": 3_000, "channel": "#rose",
        "edges": "edge-1,edge-2",
    }  # fmt: skip
    ways = logs(
        tmp_path,
        edge_1=line("edge/edge-1@main", "taken", 1_000, login="rose") + line("edge/edge-1@main", "verdict", 5_500),
        clue_1=line("clue/clue-1@main", "logged", 2_000, seq=7) + "a trace of something\n2026 info x/y@z trace id=1\n",
        exchange_1=json.dumps(as_json) + "\n{" + '"event": "trace"}\n' + '{"event": "trace", torn',
    )
    assert ways.read() == {ID}
    way = ways.all[ID]
    assert [(hop.instance, hop.hop) for hop in way.hops] == [
        ("edge-1", "taken"), ("clue-1", "logged"), ("exchange-1", "queued"), ("edge-1", "verdict"),
    ]  # fmt: skip
    assert way.took_ms == 4.5
    text = trace.as_text(way).splitlines()
    assert text[0].startswith(f"{ID}  #rose  1970-01-01 00:00:00.001")
    assert text[1].split(maxsplit=4) == ["0.000", "ms", "+0.000", "edge-1", "taken from the user rose"]
    assert text[3].split(maxsplit=4) == ["2.000", "ms", "+1.000", "exchange-1", "queued for edge-1,edge-2"]
    assert text[-1] == "longest: 2.500 ms from exchange-1 queued to edge-1 verdict"


def test_what_grows_is_read_on(tmp_path):
    """A line that is not complete yet is read when it is."""
    ways = logs(tmp_path, edge_1=line("edge/edge-1@main", "taken", 1_000)[:-1])
    assert ways.read() == set()
    with open(tmp_path / "logs" / "edge-1.log", "a") as file:
        file.write("\n")
    assert ways.read() == {ID}
    assert ways.read() == set()


def test_clusters_are_named_when_there_are_several(tmp_path):
    ways = logs(
        tmp_path, a=line("edge/edge-1@main", "taken", 1_000), b=line("clue/clue-1@event", "received", 2_000, attempt=1)
    )
    ways.read()
    assert "event clue-1  received (attempt 1)" in trace.as_text(ways.all[ID])


def _arguments(folder, **more):
    return argparse.Namespace(**{"data": str(folder), "id": "", "follow": False, "lines": 20, "json": False, **more})


def test_the_beginning_of_an_id_will_do(tmp_path, capsys):
    logs(tmp_path, edge_1=line("edge/edge-1@main", "taken", 1_000, login="rose"))
    trace.run(_arguments(tmp_path, id=ID[:6]))
    assert "taken from the user rose" in capsys.readouterr().out


def test_without_an_id_the_last_ones_are_listed(tmp_path, capsys):
    logs(
        tmp_path,
        edge_1=line("edge/edge-1@main", "taken", 1_000) + line("edge/edge-1@main", "verdict", 3_000, outcome="allowed")
        + line("edge/edge-1@main", "written", 2_000, members=1),
    )  # fmt: skip
    trace.run(_arguments(tmp_path))
    assert f"{ID}  #rose  allowed, written at 1 edges, 2.0 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "why"),
    [("", "no message was followed yet"), ("1234", "it was not followed"), (ID, "no log here tells of it")],
)
def test_what_is_not_known_is_told_with_what_to_do(tmp_path, asked, why):
    logs(tmp_path, edge_1="")
    with pytest.raises(ConfigError, match=why) as told:
        trace.run(_arguments(tmp_path, id=asked))
    assert "+tallgrass/trace" in str(told.value)


def test_a_folder_without_logs(tmp_path):
    with pytest.raises(ConfigError, match="there are no logs in"):
        trace.run(_arguments(tmp_path))
