"""What the intake's parts are given of the configuration."""

from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.config import Config, GatewaySettings, load
from gateway.intake import configured
from gateway.intake.configured import inlets, key_host, limits

DAY_S = 86_400


def read(folder: Path, settings: str) -> Config:
    """The configuration with one source of these settings."""
    path = folder / "gateway.toml"
    path.write_text(f'[sources.br]\nadapter = "enviaai"\nsecrets = ["env:SECRET"]\n{settings}')
    return load(path, {"SECRET": "whs_test"})


@pytest.mark.parametrize(
    ("window_s", "retention_s", "seen_ttl_s"),
    [(30 * DAY_S, DAY_S, 30 * DAY_S), (8 * DAY_S, 20 * DAY_S, 20 * DAY_S)],
)
def test_an_id_is_remembered_for_the_longer_of_two(
    tmp_path: Path, window_s: int, retention_s: int, seen_ttl_s: int
) -> None:
    """The dedupe window, which is no shorter than the provider's retries, and the time for which events stay."""
    config = read(tmp_path, "")
    source = msgspec.structs.replace(config.sources["br"], dedupe_window_s=window_s)
    store = msgspec.structs.replace(config.store, retention_s=retention_s)
    config = msgspec.structs.replace(config, sources={"br": source}, store=store)
    assert inlets(config, workers=1)["br"].seen_ttl_s == seen_ttl_s


def test_workers_share_the_rate_of_a_source(tmp_path: Path) -> None:
    """Each process lets its part of it in; a source without one has none in any of them."""
    assert inlets(read(tmp_path, 'rate = "30/s"'), workers=4)["br"].rate_per_s == 7.5
    assert inlets(read(tmp_path, ""), workers=4)["br"].rate_per_s is None


def test_fewer_open_files_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system allows fewer connections than were asked for, so many it is, and the log says so once."""
    monkeypatch.setattr(configured, "open_files_for", lambda wanted: min(wanted, 700))
    with capture_logs() as lines:
        assert limits(GatewaySettings(max_connections=700, idle_timeout_s=3)).idle_timeout_s == 3
        assert lines == []
        assert limits(GatewaySettings(max_connections=900)).max_connections == 700
    assert [(line["event"], line["max_connections"]) for line in lines] == [("gateway.few_files", 700)]


def test_a_key_host_elsewhere(tmp_path: Path) -> None:
    """Without the two variables, or with one that cannot be read, the name leads where it says."""
    (tmp_path / "ca.pem").write_bytes(b"pem")
    env = {"GATEWAY_KEY_HOST_RESOLVE": "keys.test=127.0.0.1:8443", "GATEWAY_KEY_HOST_CA": str(tmp_path / "ca.pem")}
    assert key_host(env) == {"resolve": {"keys.test": ("127.0.0.1", 8443)}, "ca_pem": b"pem"}
    assert key_host({}) == key_host({**env, "GATEWAY_KEY_HOST_RESOLVE": "keys.test"}) == {}
