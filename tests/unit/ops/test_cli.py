from pathlib import Path

import pytest

from ops import cli


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """Exit status (or the one line that sys.exit prints for us) and what was written to stderr."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--clusters", "main,main"], "--clusters main,main: main is in it twice"),
        (["--clusters", "main,prod"], "--clusters prod: a cluster is one of main, event, group, test"),
        (["--promote", "members=9"], "cluster main cannot promote channels to event: clusters that share a directory"),
        (["--clusters", "main,event", "--promote", "size=9"], "--promote size=9: give members=N,rate=N"),
        (["--topology", "/nowhere.toml"], "--topology /nowhere.toml: No such file"),
        (["--topology", "x", "--clusters", "main"], "leave out either it or --clusters"),
        (["--clusters", "prod"], "--clusters prod: a cluster is one of main, event, group, test"),
        (["--redis-shards", "1"], "--redis-shards 1: there are 2 to 32"),
        (["--edges", "0"], "--edges 0: one machine runs 1 to 32"),
        (["--host", "0.0.0.0"], "--auth open lets anybody in under any name"),
        (["--tls-cert", "a.pem"], "--tls-cert and --tls-key go together"),
        (["--tls", "self", "--tls-cert", "a", "--tls-key", "b"], "--tls self makes its own certificate"),
        (["--tls-cert", "/nowhere/a", "--tls-key", "/nowhere/b"], "--tls-cert /nowhere/a: there is no such file"),
        (["--statsd", "localhost"], "--statsd localhost: give HOST:PORT"),
    ],
)
def test_wrong_options_of_up_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], told: str
) -> None:
    """And nothing is made."""
    code, _ = run(capsys, "up", "--data", str(tmp_path / "data"), *arguments)
    assert isinstance(code, str)
    assert code.startswith("tallgrass: ")
    assert told in code
    assert "\n" not in code
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["--clues", "--exchanges"])
def test_a_pool_needs_haproxy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("TALLGRASS_HAPROXY", "none")
    code, _ = run(capsys, "up", "--data", str(tmp_path), "--irc-port", "0", "--http-port", "0", option, "2")
    assert f"{option} 2 needs HAProxy" in str(code)


@pytest.mark.parametrize(
    "arguments", [["status"], ["user", "add", "ann"], ["role", "#meadow", "ann", "mod"]], ids=lambda a: a[0]
)
def test_commands_without_a_stack_say_what_where_and_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    code, _ = run(capsys, *arguments, "--data", str(tmp_path))
    assert str(code).startswith(f"tallgrass: no stack runs in {tmp_path}: start one with `tallgrass up`")


@pytest.mark.parametrize(
    ("control", "told"),
    [
        ("nonsense", "--control 'nonsense' is no address"),
        ("http://h:1/x", "is no address"),
        ("127.0.0.1:9", "the control token of 127.0.0.1:9 is missing"),
    ],
)
def test_a_remote_stack_needs_address_and_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, control: str, told: str
) -> None:
    monkeypatch.delenv("TALLGRASS_CONTROL_TOKEN", raising=False)
    code, _ = run(capsys, "status", "--control", control)
    assert told in str(code)


def test_a_remote_stack_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(capsys, "status", "--control", "127.0.0.1:9", "--control-token", "t")
    assert "127.0.0.1:9" in str(code)
    assert "is the stack running" in str(code)
    assert "\n" not in str(code)


def test_an_unknown_role_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = run(capsys, "role", "#meadow", "ann", "king")
    assert code == 2
    assert "invalid choice: 'king'" in err
