"""Matching: which subscribers want an event."""

import pytest

from gateway.config import SubscriberSettings
from gateway.delivery.matching import Matcher
from schemas.event import EVENT_TYPES


def subscriber(name: str, *types: str) -> SubscriberSettings:
    """A subscriber of these types."""
    return SubscriberSettings(name=name, url="https://example.com/", secrets=(), types=types)


MATCHER = Matcher(
    [
        subscriber("all", "*"),
        subscriber("messages", "message.*"),
        subscriber("reads", "message.read", "booking.confirmed"),
        subscriber("channels", "channel.*"),
        subscriber("logins", "channel.qr_updated"),
        subscriber("rest", "other"),
        subscriber("none"),
    ]
)


@pytest.mark.parametrize(
    ("event_type", "names"),
    [
        ("message.read", ("all", "messages", "reads")),
        ("message.sent", ("all", "messages")),
        ("booking.confirmed", ("all", "reads")),
        ("channel.connected", ("all", "channels")),
        ("other", ("all", "rest")),
    ],
)
def test_globs_families_and_single_types(event_type: str, names: tuple[str, ...]) -> None:
    """``*`` covers all, ``family.*`` a family, a name itself; the order is that of the settings."""
    assert MATCHER.wanted(event_type) == names


def test_a_login_credential_goes_only_to_who_names_it() -> None:
    """No glob covers ``channel.qr_updated``."""
    assert MATCHER.wanted("channel.qr_updated") == ("logins",)


def test_a_glob_and_the_literal_name_together_cover_the_credential() -> None:
    """Naming the credential beside a glob is naming it."""
    assert Matcher([subscriber("both", "*", "channel.qr_updated")]).wanted("channel.qr_updated") == ("both",)


def test_a_type_of_a_later_version_is_matched_as_well() -> None:
    """A type this version does not know is matched by the same rules, without being remembered."""
    assert MATCHER.wanted("message.reacted") == ("all", "messages")
    assert MATCHER.wanted("message.reacted") == ("all", "messages")
    assert MATCHER.wanted("messages.x") == ("all",)


@pytest.mark.parametrize("pattern", ["", "message", "messages.*", "*.read", "message.re*", "**", ".*", "MESSAGE.*"])
def test_what_is_no_glob_of_ours_matches_nothing(pattern: str) -> None:
    """Only ``*``, ``family.*`` and a whole type mean something; nothing else is guessed at."""
    assert all(not Matcher([subscriber("s", pattern)]).wanted(known) for known in EVENT_TYPES)
