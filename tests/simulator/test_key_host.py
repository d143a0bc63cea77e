"""The key host speaks TLS as a real one does."""

import ssl

import httpcore
import pytest

from gateway.simulator import key_host
from tests.simulator.players import Player, playing

HOST = "assets.webhooks.flexengage-test.com"
PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


def fetch(player: Player, host: str, path: str, context: ssl.SSLContext, port: int) -> tuple[int, bytes]:
    with httpcore.ConnectionPool(ssl_context=context) as pool:
        response = pool.request(
            "GET",
            f"https://127.0.0.1:{port}{path}",
            headers={"host": host},
            extensions={"sni_hostname": host, "timeout": {"connect": 5.0, "read": 5.0}},
        )
        return response.status, response.content


def test_serves_keys_under_its_name_to_who_trusts_its_ca_and_leaves_when_told() -> None:
    """The key is there, other paths are not; another name, or no trust in the CA, ends the handshake."""
    with playing("key_host", key_host.Instructions(host=HOST, keys={"/keys/demo.pem": PEM})) as player:
        ready = player.line()
        trusting = ssl.create_default_context(cadata=ready["ca_pem"])
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        assert fetch(player, HOST, "/keys/demo.pem", trusting, ready["port"]) == (200, PEM.encode())
        assert fetch(player, HOST, "/keys/other.pem", trusting, ready["port"])[0] == 404
        with pytest.raises(httpcore.ConnectError, match=r"(?i)hostname mismatch"):
            fetch(player, "assets.webhooks.flexengage.com", "/keys/demo.pem", trusting, ready["port"])
        with pytest.raises(httpcore.ConnectError, match=r"(?i)certificate verify failed"):
            fetch(player, HOST, "/keys/demo.pem", ssl.create_default_context(), ready["port"])
        assert player.cut() == 0
