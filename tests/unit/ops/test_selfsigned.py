import datetime
import ssl
import stat
from pathlib import Path

from ops.selfsigned import ensure_pair

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_the_pair_can_serve_tls(tmp_path: Path) -> None:
    """Certificate and key belong together."""
    certificate, key = ensure_pair(tmp_path / "tls", NOW)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    _, key = ensure_pair(tmp_path, NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_valid_pair_is_kept(tmp_path: Path) -> None:
    """Users who trusted it need not do so again."""
    certificate, _ = ensure_pair(tmp_path, NOW)
    before = certificate.read_bytes()
    ensure_pair(tmp_path, NOW + datetime.timedelta(days=300))
    assert certificate.read_bytes() == before


def test_a_pair_that_ends_soon_is_made_anew(tmp_path: Path) -> None:
    certificate, _ = ensure_pair(tmp_path, NOW)
    before = certificate.read_bytes()
    ensure_pair(tmp_path, NOW + datetime.timedelta(days=340))
    assert certificate.read_bytes() != before


def test_a_damaged_pair_is_made_anew(tmp_path: Path) -> None:
    _, key = ensure_pair(tmp_path, NOW)
    key.write_text("broken")
    ensure_pair(tmp_path, NOW)
    assert "PRIVATE KEY" in key.read_text()
