"""What a subscriber shows back of its own secrets is not kept."""

import base64
import json

import pytest

from gateway.config import SubscriberSettings
from gateway.delivery.echoes import MARK, Echoes

KEY = base64.b64encode(b"k" * 27 + b"\xff\xfe\xfd").decode()
SETTINGS = SubscriberSettings(
    name="crm",
    url="https://crm.example.com/hooks/T0PS3CRET-part-of-path?token=in/the/query&b=another-secret",
    secrets=(f"whsec_{KEY}",),
    headers=(("authorization", "Bearer out-going-token"), ("x-team", "crm")),
)


@pytest.mark.parametrize(
    "secret",
    [f"whsec_{KEY}", KEY, "out-going-token", "in/the/query", "another-secret", "T0PS3CRET-part-of-path"],
)
def test_a_secret_is_hidden_in_whatever_form_it_is_shown_back(secret: str) -> None:
    """As it is, in JSON with escaped slashes, and as base64; what stands around it stays."""
    echoes = Echoes(SETTINGS)
    escaped = json.dumps(secret)[1:-1].replace("/", "\\/")
    for form in (secret, escaped, base64.b64encode(secret.encode()).decode()):
        shown = echoes.hide(f"error: <{form}> is not welcome".encode())
        assert form.encode() not in shown
        assert shown.startswith(b"error: <")
        assert MARK in shown
        assert shown.endswith(b"> is not welcome")


def test_other_answers_are_kept_as_they_came() -> None:
    """Words, short values and bytes that are no text; and one without secrets hides nothing."""
    answer = b"\xff\x00 crm at /hooks: no such team \xfe"
    assert Echoes(SETTINGS).hide(answer) == answer
    bare = SubscriberSettings(name="crm", url="https://crm.example.com/", secrets=())
    assert Echoes(bare).hide(answer) == answer
