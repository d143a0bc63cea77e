"""The demo's setting: a real ``gateway.toml`` and ``.env`` with fresh secrets, and what each player is told."""

import base64
import secrets
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.simulator.requests import Account

KEY_HOST = "assets.webhooks.flexengage-test.com"
KEY_PATH = "/keys/demo.pem"
KEY_URL = f"https://{KEY_HOST}{KEY_PATH}"
PRIVATE_KEY_FILE = "flexengage-private.pem"
BRAND = "yourBrandId"
"""The account that flexengage's samples come from."""
SUBSCRIBER = "crm"

_CONFIG = """\
# Written by `gateway demo`. The secrets stand in .env beside this file; both vanish with the demo.
[gateway]
listen = "{listen}"
admin_token = "env:DEMO_ADMIN_TOKEN"

[store]
url = "embedded:./data"
durability = "fsync"

[sources.engium]
adapter = "engium"
secrets = ["env:DEMO_ENGIUM_SECRET"]

[sources.aivo]
adapter = "aivo_engage"
header = "x-auth-token"
secrets = ["env:DEMO_AIVO_TOKEN"]

[sources.enviaai-br]
adapter = "enviaai"
secrets = ["env:DEMO_ENVIAAI_SECRET"]

[sources.receipts]
adapter = "flexengage"        # gateway send receipts NOTIFICATION.SMS --config <this file>
#   --signing-key <beside it: {private_key}> --key-url {key_url}
accounts = ["{brand}"]
environment = "test"

[sources.chat]
adapter = "generic_chat"
secrets = ["env:DEMO_CHAT_SECRET"]
path_token = "env:DEMO_CHAT_TOKEN"

[subscribers.{subscriber}]
url = "http://127.0.0.1:{subscriber_port}/hooks"
secrets = ["env:DEMO_CRM_SECRET"]
allow_networks = ["127.0.0.0/8"]
retry = ["1s", "2s", "5s", "10s", "30s"]
"""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Fresh for every demo. ``repr`` hides them."""

    admin_token: str
    engium: str
    aivo: str
    enviaai: str
    chat: str
    chat_token: str
    subscriber: str
    flexengage_private_pem: str
    flexengage_public_pem: str

    def __repr__(self) -> str:
        return "Secrets(…)"

    def environment(self) -> dict[str, str]:
        """What the gateway may know: no private key among it."""
        return {
            "DEMO_ADMIN_TOKEN": self.admin_token,
            "DEMO_ENGIUM_SECRET": self.engium,
            "DEMO_AIVO_TOKEN": self.aivo,
            "DEMO_ENVIAAI_SECRET": self.enviaai,
            "DEMO_CHAT_SECRET": self.chat,
            "DEMO_CHAT_TOKEN": self.chat_token,
            "DEMO_CRM_SECRET": self.subscriber,
        }


def draw_secrets() -> Secrets:
    """Draw every secret, and flexengage's key pair, anew."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Secrets(
        admin_token=secrets.token_urlsafe(32),
        engium=secrets.token_urlsafe(32),
        aivo=secrets.token_urlsafe(32),
        enviaai=secrets.token_urlsafe(32),
        chat=secrets.token_urlsafe(32),
        chat_token=secrets.token_urlsafe(32),
        subscriber="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii"),
        flexengage_private_pem=private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii"),
        flexengage_public_pem=private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode("ascii"),
    )


def write(directory: Path, drawn: Secrets, *, listen: str, subscriber_port: int) -> Path:
    """Write ``gateway.toml``, ``.env`` (0600), and flexengage's private key for ``gateway send``; the config's path."""
    config = directory / "gateway.toml"
    config.write_text(
        _CONFIG.format(
            listen=listen,
            brand=BRAND,
            key_url=KEY_URL,
            private_key=PRIVATE_KEY_FILE,
            subscriber=SUBSCRIBER,
            subscriber_port=subscriber_port,
        )
    )
    write_private(directory / ".env", "".join(f"{name}={value}\n" for name, value in drawn.environment().items()))
    write_private(directory / PRIVATE_KEY_FILE, drawn.flexengage_private_pem)
    return config


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.touch(mode=0o600)
    path.write_text(text)


def accounts(drawn: Secrets, base_url: str) -> list[Account]:
    """What the providers know: their customer's URLs and the secrets they share with it."""
    return [
        Account(source="engium", adapter="engium", url=f"{base_url}/in/engium", secrets=(drawn.engium,)),
        Account(
            source="aivo",
            adapter="aivo_engage",
            url=f"{base_url}/in/aivo",
            header="x-auth-token",
            secrets=(drawn.aivo,),
        ),
        Account(source="enviaai-br", adapter="enviaai", url=f"{base_url}/in/enviaai-br", secrets=(drawn.enviaai,)),
        Account(
            source="receipts",
            adapter="flexengage",
            url=f"{base_url}/in/receipts",
            environment="test",
            options={"signing_key": drawn.flexengage_private_pem, "key_url": KEY_URL},
        ),
        Account(
            source="chat",
            adapter="generic_chat",
            url=f"{base_url}/in/chat/{drawn.chat_token}",
            secrets=(drawn.chat,),
        ),
    ]
