"""A subscriber written as the API's JSON: the file's rules, and what a token may not reach."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config_file.written import Read, read_written
from gateway.delivery.itself import Itself

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ENV = {"W": SECRET, "ADMIN": "the-admin-token-of-this-gateway", "SUBSCRIBER_TOKEN": "for-the-subscriber"}
GOOD: dict[str, Any] = {"url": "https://crm.example.com/hooks", "secrets": ["env:W"]}


def read(tmp_path: Path, **written: Any) -> Read:
    """Read ``GOOD`` with changes."""
    return read_written("crm", {**GOOD, **written}, tmp_path, ENV, {})


def test_what_the_file_may_say_the_api_may_say(tmp_path: Path) -> None:
    """The same settings come out, defaults included, and null is the same as nothing."""
    found = read(tmp_path, types=["message.*"], retry=["1s"], timeout="2s", order="key", concurrency=None)
    assert found.mistakes == ()
    assert found.settings is not None
    settings = found.settings
    assert (settings.types, settings.retry_s, settings.timeout_s) == (("message.*",), (1.0,), 2.0)
    assert (settings.order, settings.concurrency, settings.secrets) == ("key", 32, (SECRET,))


def test_every_mistake_is_named_with_its_field(tmp_path: Path) -> None:
    """All at once, none of them with a value that could be a secret."""
    found = read(
        tmp_path, url="http://user:hunter2@example.com/", secrets=[SECRET], types=["*", "nothing"], timeout=3, colour=1
    )
    assert found.settings is None
    assert {each.at for each in found.mistakes} == {"url", "secrets[0]", "types[1]", "timeout", "colour"}
    assert all("; write " in each.why for each in found.mistakes)
    told = str(found.mistakes)
    assert SECRET not in told
    assert "hunter2" not in told


def test_a_name_that_cannot_stand_in_a_url_is_refused(tmp_path: Path) -> None:
    """The name is judged like one in the file."""
    assert read_written("No Good", GOOD, tmp_path, ENV, {}).mistakes[0].at == ""


def test_the_gateway_itself_is_no_subscriber(tmp_path: Path) -> None:
    """One made through the API may not lead to where the gateway listens, whatever port it was told to use."""
    own = {**GOOD, "url": "http://127.0.0.1:8473/in/chat", "allow_networks": ["127.0.0.0/8"]}
    (mistake,) = read_written("crm", own, tmp_path, ENV, {}, Itself([("127.0.0.1", 8473)])).mistakes
    assert mistake.at == "url"
    assert mistake.why.startswith("leads to the gateway itself")
    assert read_written("crm", own, tmp_path, ENV, {}, Itself([("127.0.0.1", 8474)])).mistakes == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("secrets", ["file:../admin_token"]),
        ("secrets", ["file:/etc/passwd"]),
        ("secrets", ["file:secrets/../admin_token"]),
        ("url", "env:ADMIN"),
        ("url", "file:secrets/crm"),
        ("url", "https://crm.example.com/?key=secret"),
        ("headers", {"x-a": "env:ADMIN"}),
        ("headers", {"x-a": "file:secrets/other"}),
        ("headers", {"x-a": "credential:admin"}),
    ],
)
def test_a_token_of_the_api_reaches_nothing_that_was_not_set_aside(tmp_path: Path, field: str, value: Any) -> None:
    """Neither other files, nor the environment by way of what the subscriber is sent, nor secrets in the store."""
    found = read(tmp_path, **{field: value})
    assert found.settings is None
    assert all(each.at.startswith(field) for each in found.mistakes), found.mistakes


def test_what_was_set_aside_is_reached(tmp_path: Path) -> None:
    """The positive control of the refusals above."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "crm").write_text(SECRET)
    found = read(tmp_path, secrets=["file:secrets/crm"], headers={"authorization": "env:SUBSCRIBER_TOKEN"})
    assert found.mistakes == ()
    assert found.settings is not None
    assert found.settings.headers == (("authorization", "for-the-subscriber"),)
    assert "for-the-subscriber" not in str(found.origins)
