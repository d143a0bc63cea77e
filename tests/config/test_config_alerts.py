"""``[alerts]``: where they may go, and that a chat's URL, which is a secret, is not shown."""

from pathlib import Path

import pytest

from gateway.config import Config
from gateway.config_file.document import read_text
from gateway.config_file.effective import effective
from gateway.errors import ConfigError

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def read(lines: str) -> Config:
    """A file with this table alone."""
    return read_text(Path("gateway.toml"), f"[alerts]\n{lines}\n", {"W": WHSEC, "BAD": "whsec_?"}, {})


def test_a_url_that_stands_in_the_file_is_shown_without_its_path() -> None:
    """The path of an incoming webhook is what lets one post there."""
    config = read('url = "https://chat.example.com/hooks/T0/very-secret?key=too"\nsecrets = ["env:W"]')
    shown = "\n".join(effective(config)) + repr(config)
    assert 'url = "https://chat.example.com/…"' in shown
    assert "secret?" not in shown
    assert WHSEC not in shown
    assert config.alerts.url is not None
    assert config.alerts.url.endswith("/very-secret?key=too")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ('url = "ftp://chat.example.com/"', "is not an http or https URL"),
        ('url = "not a url"', "is not a URL"),
        ('url = "https://user:pass@chat.example.com/"', "holds a user or a password"),
        ('url = "http://chat.example.com/"', "is http"),
        ('url = "https://169.254.169.254/"', "169.254.169.254"),
        ('url = "https://2852039166/latest"', "169.254.169.254"),
        ('secrets = ["env:BAD"]', "not base64"),
        (f'secrets = ["{WHSEC}"]', "secrets do not stand in this file"),
        ('oldest_pending = "9s"', "oldest_pending"),
        ("dead_letters = 0", "dead_letters"),
        ('silence = "no"', "silence"),
        ('webhook = "https://chat.example.com/"', "is not a key that is known"),
    ],
)
def test_a_mistake_is_told_with_its_line(lines: str, why: str) -> None:
    """The same rules as for a subscriber's URL, a metadata address in any spelling among them."""
    with pytest.raises(ConfigError) as caught:
        read(lines)
    (problem,) = caught.value.problems
    assert problem.startswith("gateway.toml:2: alerts")
    assert why in problem
    assert WHSEC not in problem


def test_a_private_receiver_is_named() -> None:
    """http is for networks that are named, as for a subscriber."""
    alerts = read('url = "http://127.0.0.1:9/x"\nallow_networks = ["127.0.0.0/8"]').alerts
    assert alerts.url == "http://127.0.0.1:9/x"
