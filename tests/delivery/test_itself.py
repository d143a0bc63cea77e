"""Which URLs lead to the gateway itself, by their text alone."""

import pytest
from pyreqwest.http import Url

from gateway.delivery.itself import Itself

HERE = Itself([("127.0.0.1", 8080)])


@pytest.mark.parametrize(
    ("url", "leads_here"),
    [
        ("http://127.0.0.1:8080/hooks", True),
        ("http://2130706433:8080/", True),
        ("http://[::ffff:127.0.0.1]:8080/", True),
        ("http://localhost:8080/", True),
        ("http://LOCALHOST.:8080/", True),
        ("http://app.localhost:8080/", True),
        ("http://app.localhost:8081/", False),
        ("http://localhost/", False),
        ("http://127.0.0.2:8080/", False),
        ("http://[::1]:8080/", False),
        ("http://applocalhost:8080/", False),
        ("http://localhost.example:8080/", False),
        ("http://example.com:8080/", False),
    ],
)
def test_a_socket_of_its_own_is_known_by_its_address_and_every_name_of_loopback(url: str, leads_here: bool) -> None:
    """A name is looked up only when there is a connection to make; the names of loopback mean no other machine."""
    assert HERE.is_written_in(Url(url)) is leads_here


@pytest.mark.parametrize(
    ("url", "leads_here"),
    [
        ("https://hooks.example.com/in/chat", True),
        ("http://hooks.example.com./in", True),
        ("https://hooks.example.com/crm", False),
        ("https://hooks.example.com:8443/in/chat", False),
    ],
)
def test_its_intake_is_known_by_public_url(url: str, leads_here: bool) -> None:
    """Through the proxy too a delivery would come back; other paths of that host may be a subscriber's."""
    assert Itself(public_url="https://hooks.example.com").is_written_in(Url(url)) is leads_here
