"""What a good file becomes, and how the settings in force are shown."""

import base64
import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from gateway.cli.secret import make
from gateway.config import (
    NOT_YET,
    AlertSettings,
    Config,
    GatewaySettings,
    StoreSettings,
    SubscriberSettings,
    hash_token,
    load,
    make_source,
    path_token,
)
from gateway.config_file.effective import effective
from gateway.errors import ConfigError

EVERYTHING = Path(__file__).with_name("everything.toml")
WHSEC = "whsec_" + base64.b64encode(b"k" * 32).decode()
ENV = {
    "GATEWAY_ADMIN_TOKEN": "admin-token-of-thirty-two-chars-",
    "ENVIAAI_SECRET": "new-secret",
    "ENVIAAI_SECRET_OLD": "old-secret",
    "AIVO_TOKEN": "aivo-value",
    "CHAT_TOKEN": "chat-token-of-thirty-two-chars--",
    "CRM_SECRET": WHSEC,
    "ALERT_URL": "https://alerts.example.com/secret-path",
}
TOKENS = (
    '[[gateway.tokens]]\nname = "a"\nrole = "read"\nsecret = "env:CHAT_TOKEN"\n'
    '[[gateway.tokens]]\nname = "b"\nrole = "operate"\nsecret = "env:GATEWAY_ADMIN_TOKEN"\n'
)
NOT_THE_DEFAULT = {
    'spool = "./spool"': 'spool = "./elsewhere"',
    'oldest_pending = "5m"': 'oldest_pending = "6m"',
    "dead_letters = 1": "dead_letters = 2",
    "silence = true": "silence = false",
}
"""Settings of the full file that stand there with their default, which asks for nothing."""
SUBSCRIBER = '[subscribers.crm]\nurl = "https://crm.example.com/hooks"\nsecrets = ["env:CRM_SECRET"]\n'


@dataclass
class Folder:
    """A directory with a configuration in it."""

    path: Path
    env: Mapping[str, str] = field(default_factory=lambda: ENV)

    def load(self, toml: str) -> Config:
        """Write the file and read it."""
        file = self.path / "gateway.toml"
        file.write_text(toml, "utf-8")
        return load(file, self.env)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory and a full environment."""
    return Folder(tmp_path)


@pytest.fixture
def everything_built() -> Iterator[None]:
    """As it will be when every feature is there."""
    with patch.dict(NOT_YET, clear=True):
        yield


@pytest.mark.usefixtures("everything_built")
def test_every_setting_of_the_design_is_known(folder: Folder) -> None:
    """The file that uses every setting loads, resolved into seconds, bytes, networks and hashes."""
    config = folder.load(EVERYTHING.read_text("utf-8"))
    assert (config.gateway.host, config.gateway.port) == ("127.0.0.1", 8080)
    assert config.gateway.tokens[0].secret_sha256 == hashlib.sha256(ENV["GATEWAY_ADMIN_TOKEN"].encode()).digest()
    assert config.store.data_dir == folder.path.resolve() / "data"
    assert config.store.spool == folder.path.resolve() / "spool"
    assert config.store.retention_bytes == 512 * 1024 * 1024
    enviaai = config.sources["enviaai-br"]
    assert enviaai.source.secrets == (b"new-secret", b"old-secret")
    assert (enviaai.rate_per_s, enviaai.retention_s, enviaai.expect_every_s) == (1000.0, 30 * 86_400.0, 7_200.0)
    assert config.sources["aivo"].source.header == b"x-auth-token"
    assert config.sources["receipts"].source.accounts == ("yourBrandId",)
    assert config.sources["chat"].source.path_token_sha256 == hash_token(ENV["CHAT_TOKEN"])
    crm = config.subscribers["crm"]
    assert (crm.types, crm.rate_per_s, crm.headers) == (("message.*", "booking.confirmed"), 50.0, (("x-team", "crm"),))
    assert crm.retry_s == SubscriberSettings(name="", url="", secrets=()).retry_s
    assert config.alerts.url == ENV["ALERT_URL"]


def test_an_empty_file_gives_the_defaults_of_the_classes(folder: Folder) -> None:
    """What the reader takes for a missing key is what the classes say, so that there is one truth."""
    config = folder.load("")
    assert config.gateway == GatewaySettings()
    assert config.alerts == AlertSettings()
    in_place = {"url": f"embedded:{folder.path.resolve()}/data", "spool": folder.path.resolve() / "spool"}
    assert config.store == msgspec.structs.replace(StoreSettings(), **in_place)
    assert (config.sources, config.subscribers) == ({}, {})


def test_a_short_subscriber_gets_the_defaults_of_its_class(folder: Folder) -> None:
    """A subscriber of two lines is what the class says it is."""
    expected = SubscriberSettings(name="crm", url="https://crm.example.com/hooks", secrets=(WHSEC,))
    assert folder.load(SUBSCRIBER).subscribers == {"crm": expected}


@pytest.mark.usefixtures("everything_built")
def test_each_setting_is_shown_with_its_origin(folder: Folder) -> None:
    """--effective is TOML with every setting in force, saying default, file and line, or the variable."""
    toml = EVERYTHING.read_text("utf-8") + TOKENS
    written = toml.splitlines()
    lines = list(effective(folder.load(toml)))
    shown = tomllib.loads("\n".join(lines))
    assert shown["store"]["assume_durable"] is False
    assert shown["gateway"]["tokens"] == tomllib.loads(TOKENS)["gateway"]["tokens"]
    assert shown["gateway"].keys() >= tomllib.loads(EVERYTHING.read_text("utf-8"))["gateway"].keys()
    for line in lines:
        setting, _, origin = line.partition("  # ")
        if "gateway.toml:" in origin:
            number = int(origin.split(",")[0].rsplit(":", 1)[1])
            assert written[number - 1].startswith(setting.split(" = ")[0])
    assert any(line.startswith("admin_token") and "GATEWAY_ADMIN_TOKEN from environment" in line for line in lines)
    assert any(line.startswith("assume_durable") and line.endswith("# default") for line in lines)


def test_a_setting_whose_feature_is_not_built_is_shown_as_such(folder: Folder) -> None:
    """--effective does not let a default look as if it were in force."""
    with patch.dict(NOT_YET, {"store.spool": "the spool"}):
        shown = {line.partition(" = ")[0]: line for line in effective(folder.load(SUBSCRIBER))}
    assert shown["max_lag"].endswith("# default")
    assert shown["spool"].endswith("# default, without effect in this version")
    assert shown["timeout"].endswith("# default")


@pytest.mark.usefixtures("everything_built")
def test_no_secret_is_shown(folder: Folder) -> None:
    """Neither --effective nor the repr of any setting holds a secret, a URL's query or a header's value."""
    toml = EVERYTHING.read_text("utf-8") + TOKENS
    toml = toml.replace("com/hooks", "com/hooks?key=q-secret").replace('"crm" }', '"h-secret" }')
    config = folder.load(toml)
    shown = "\n".join(effective(config)) + repr(config)
    secrets = [*ENV.values(), "q-secret", "h-secret"]
    assert [secret for secret in secrets if secret in shown] == []
    assert config.subscribers["crm"].url.endswith("q-secret")


@pytest.mark.parametrize("setting", NOT_YET)
def test_what_is_not_built_is_refused_and_not_ignored(folder: Folder, setting: str) -> None:
    """Each entry of NOT_YET names a setting of the full file whose use is refused, with its line."""
    table, _, key = setting.partition(".")
    document = tomllib.loads(EVERYTHING.read_text("utf-8"))
    holders = document[table].values() if table in {"sources", "subscribers"} else [document[table]]
    assert any(key in holder for holder in holders)
    toml = EVERYTHING.read_text("utf-8")
    for default, other in NOT_THE_DEFAULT.items():
        assert default in toml
        toml = toml.replace(default, other)
    with pytest.raises(ConfigError) as caught:
        folder.load(toml)
    problems = [problem for problem in caught.value.problems if f"asks for {NOT_YET[setting]}" in problem]
    assert any(toml.splitlines()[int(problem.split(":")[1]) - 1].startswith(key) for problem in problems)


def test_a_key_pair_signs_too(folder: Folder) -> None:
    """A whsk_ secret is taken, unless its halves do not belong together; then it is not shown."""
    whsk = make("whsk")
    folder.env = {"CRM_SECRET": whsk}
    assert folder.load(SUBSCRIBER).subscribers["crm"].secrets == (whsk,)
    mixed = "whsk_" + base64.b64encode(b"k" * 64).decode()
    folder.env = {"CRM_SECRET": mixed}
    with pytest.raises(ConfigError, match="do not belong together") as caught:
        folder.load(SUBSCRIBER)
    assert mixed not in str(caught.value)


def test_tokens_have_names_and_roles(folder: Folder) -> None:
    """admin_token is one token with the role operate; [[gateway.tokens]] adds others."""
    folder.env = {**ENV, "GRAFANA": "grafana-token-of-24-chars"}
    config = folder.load(
        '[gateway]\nadmin_token = "env:GATEWAY_ADMIN_TOKEN"\n'
        '[[gateway.tokens]]\nname = "grafana"\nrole = "read"\nsecret = "env:GRAFANA"\n'
    )
    assert [(token.name, token.role, token.secret_sha256) for token in config.gateway.tokens] == [
        ("admin", "operate", hash_token(ENV["GATEWAY_ADMIN_TOKEN"])),
        ("grafana", "read", hash_token("grafana-token-of-24-chars")),
    ]


def test_the_path_token_can_be_read_again_by_who_needs_the_url(folder: Folder) -> None:
    """The settings hold only the hash; the reference leads a command to the token itself."""
    config = folder.load('[sources.chat]\nadapter = "generic_chat"\npath_token = "env:CHAT_TOKEN"\n')
    assert path_token(config, "chat", ENV) == ENV["CHAT_TOKEN"]
    assert ENV["CHAT_TOKEN"] not in repr(msgspec.to_builtins(config.sources["chat"].source.path_token_sha256))
    with pytest.raises(ConfigError, match="CHAT_TOKEN is not set"):
        path_token(config, "chat", {})


def test_a_broken_adapter_breaks_only_its_own_source(folder: Folder) -> None:
    """An adapter that cannot be imported is no mistake of the file: its source says why, the others are whole."""
    (folder.path / "acme.py").write_text("raise RuntimeError('half written')\n")
    config = folder.load(
        '[sources.acme]\nadapter = "acme.py"\nsecrets = ["env:NOBODY_CAN_JUDGE"]\n'
        '[sources.enviaai]\nadapter = "enviaai"\nsecrets = ["env:ENVIAAI_SECRET"]\n'
    )
    assert "half written" in (config.sources["acme"].broken or "")
    assert config.sources["enviaai"].broken is None


def test_the_dedupe_window_never_ends_before_the_retries(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a provider retries for longer than a week, the default grows with it."""
    from adapters import registry
    from gateway.config_file import sources

    def patient(reference: str, base: Path) -> Any:
        found = registry.find(reference, base)
        assert not isinstance(found, registry.BrokenAdapter)
        return msgspec.structs.replace(found, retry_horizon_s=10 * 86_400)

    monkeypatch.setattr(sources, "find", patient)
    config = folder.load('[sources.enviaai]\nadapter = "enviaai"\nsecrets = ["env:ENVIAAI_SECRET"]\n')
    assert config.sources["enviaai"].dedupe_window_s == 10 * 86_400


def test_unauthenticated_must_be_typed_and_is_then_enough(folder: Folder) -> None:
    """unauthenticated = true stands in the place of every proof, also of an adapter's required settings."""
    config = folder.load('[sources.aivo]\nadapter = "aivo_engage"\nunauthenticated = true\n')
    assert config.sources["aivo"].source.unauthenticated


@pytest.mark.parametrize(
    ("url", "networks"),
    [
        ("http://127.0.0.1:9000/hooks", ["127.0.0.0/8"]),
        ("http://localhost:9000/hooks", ["127.0.0.0/8"]),
        ("http://[::1]:9000/hooks", ["::1"]),
        ("http://crm:3000/", ["10.2.0.0/16"]),
        ("https://10.2.0.7/hooks", ["10.2.0.0/16"]),
    ],
)
def test_http_is_for_networks_that_were_named(folder: Folder, url: str, networks: list[str]) -> None:
    """A target in a network of one's own may be http; what a name resolves to is checked at each connection."""
    config = folder.load(
        f'[subscribers.crm]\nurl = "{url}"\nsecrets = ["env:CRM_SECRET"]\nallow_networks = {networks}\n'
    )
    assert config.subscribers["crm"].allow_networks == tuple(ip_network(network) for network in networks)


def test_start_may_be_a_time_in_any_notation(folder: Folder) -> None:
    """A time with a zone, as text or as TOML's own, becomes the canonical form."""
    for written in ('"2026-02-03T14:00:00+02:00"', "2026-02-03T12:00:00Z", "2026-02-03 14:00:00+02:00"):
        assert folder.load(SUBSCRIBER + f"start = {written}\n").subscribers["crm"].start == "2026-02-03T12:00:00.000Z"


def test_an_adapters_pinned_key_is_read_from_a_file(folder: Folder) -> None:
    """public_key holds the PEM the file leads to, seen from the configuration's folder."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder.path / "flex.pem").write_bytes(pem)
    flexengage = '[sources.receipts]\nadapter = "flexengage"\naccounts = ["brand"]\npublic_key = "file:flex.pem"\n'
    assert folder.load(flexengage).sources["receipts"].source.public_key == pem.rstrip()


def test_a_source_can_be_made_without_a_file(tmp_path: Path) -> None:
    """The simulator and tests make a source from a table, under the same rules."""
    made = make_source("br", {"adapter": "enviaai", "secrets": ["env:A"]}, tmp_path, {"A": "secret"})
    assert made.source.secrets == (b"secret",)
    with pytest.raises(ConfigError, match="A is not set"):
        make_source("br", {"adapter": "enviaai", "secrets": ["env:A"]}, tmp_path, {})


def test_what_delivery_has_learnt_is_no_longer_refused(folder: Folder) -> None:
    """``rate`` and ``max_lag`` of a subscriber were built and then refused for a while as if they were not."""
    settings = folder.load(SUBSCRIBER + 'rate = "600/m"\nmax_lag = "2h"\n').subscribers["crm"]
    assert (settings.rate_per_s, settings.max_lag_s) == (10.0, 7_200.0)
