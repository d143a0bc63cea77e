"""Genuine requests: the recorded ones, and fresh ones of sources of our own whose secrets the forger may misuse."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapters.aivo_engage import ADAPTER as AIVO_ENGAGE
from adapters.contract import Adapter, Request, Source
from adapters.engium import ADAPTER as ENGIUM
from adapters.enviaai import ADAPTER as ENVIAAI
from adapters.flexengage import ADAPTER as FLEXENGAGE
from adapters.generic_chat import ADAPTER as GENERIC_CHAT
from adapters.registry import bundled, find
from gateway.testing import load_cases

FIXTURES = Path(__file__).parent.parent / "fixtures"
KEY_URL = "https://assets.webhooks.flexengage.com/keys/1.pem"
BRAND = "yourBrandId"
PATH_TOKEN = b"path-token-of-the-forged-00112233445566778899"
ADDRESS = "174.138.104.128"
SAMPLES = 12
"""Fresh requests of one case."""


class Genuine(msgspec.Struct, frozen=True, kw_only=True):
    """A request that its source accepts, and what a forger would have to make up."""

    provider: str
    """The adapter, and which of its proofs where it has several."""
    adapter: Adapter
    source: Source
    request: Request
    keys: Mapping[str, bytes]
    """What stands at the URLs of genuine public keys."""
    now_ms: int
    header: bytes | None
    """Which header carries the proof."""
    covers_body: bool
    signer: Source | None = None
    """What the provider signs with; ``None`` for a recorded one: its signature is another tool's."""


class Keys(msgspec.Struct, frozen=True):
    """A pair of RSA keys in PEM."""

    private: bytes
    public: bytes


@lru_cache(maxsize=4)
def rsa_keys(name: str) -> Keys:
    """The same pair for the same name, in this process."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return Keys(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def sources() -> dict[str, tuple[Adapter, Source, Source]]:
    """Name → adapter, what the gateway knows, what the provider signs with. One for each kind of proof."""
    keys = rsa_keys("flexengage")
    signing = {"signing_key": keys.private}

    def same(adapter: Adapter, source: Source) -> tuple[Adapter, Source, Source]:
        return adapter, source, source

    token_sha256 = hashlib.sha256(PATH_TOKEN).digest()
    pinned = Source(name="flexengage", accounts=(BRAND,), public_key=keys.public)
    fetched = Source(name="flexengage-fetched", accounts=(BRAND,))
    return {
        "enviaai": same(ENVIAAI, Source(name="enviaai", secrets=(b"whs_newest_of_two", b"whs_the_older_one"))),
        "engium": same(ENGIUM, Source(name="engium", secrets=(b"engium_secret_000",))),
        "engium-time": same(
            ENGIUM, Source(name="engium-time", secrets=(b"engium_secret_111",), options={"signed_time": True})
        ),
        "aivo": same(AIVO_ENGAGE, Source(name="aivo", header=b"x-auth-token", secrets=(b"aivo-token-0123456789abc",))),
        "flexengage": (FLEXENGAGE, pinned, msgspec.structs.replace(pinned, options=signing)),
        "flexengage-fetched": (
            FLEXENGAGE,
            fetched,
            msgspec.structs.replace(fetched, options={**signing, "key_url": KEY_URL}),
        ),
        "chat": same(GENERIC_CHAT, Source(name="chat", secrets=(b"oneroute_secret_0",))),
        "chat-token": same(GENERIC_CHAT, Source(name="chat-token", path_token_sha256=token_sha256)),
        "chat-address": same(GENERIC_CHAT, Source(name="chat-address", allow_ips=(ip_network(f"{ADDRESS}/32"),))),
        "chat-all": same(
            GENERIC_CHAT,
            Source(
                name="chat-all",
                secrets=(b"oneroute_secret_1",),
                path_token_sha256=token_sha256,
                allow_ips=(ip_network(f"{ADDRESS}/32"),),
            ),
        ),
    }


_HEADERS = {
    "enviaai": b"x-enviaai-signature",
    "engium": b"x-engium-signature",
    "aivo_engage": b"x-auth-token",
    "flexengage": b"x-fr-wh-authorization",
    "generic_chat": b"x-oneroute-signature",
}


def as_pairs(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """Headers as a request has them."""
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())


def fresh(now_ms: int) -> list[Genuine]:
    """Requests of every source of ``sources``, signed now."""
    made = []
    for name, (adapter, source, signer) in sources().items():
        cases = [case for case in adapter.cases if "unknown" not in case][:4]
        for case in cases:
            for seed in range(SAMPLES):
                body = adapter.sample(case, seed)
                request = Request(
                    as_pairs(adapter.sign(body, signer, now_ms)),
                    body,
                    PATH_TOKEN if source.path_token_sha256 else None,
                    ADDRESS if source.allow_ips else "192.0.2.7",
                )
                signs = bool(source.secrets or source.public_key or source.accounts)
                made.append(
                    Genuine(
                        provider=name,
                        adapter=adapter,
                        source=source,
                        request=request,
                        keys={KEY_URL: rsa_keys("flexengage").public} if name == "flexengage-fetched" else {},
                        now_ms=now_ms,
                        header=_HEADERS[adapter.name] if signs else None,
                        covers_body=signs and adapter is not AIVO_ENGAGE,
                        signer=signer,
                    )
                )
    return made


def recorded() -> list[Genuine]:
    """Every recorded request whose source asks for a proof."""
    made = []
    for name in bundled():
        adapter = find(name, FIXTURES)
        assert isinstance(adapter, Adapter), adapter
        for case in load_cases(FIXTURES / name):
            if case.source.unauthenticated:
                continue
            made.append(
                Genuine(
                    provider=f"{name}, recorded",
                    adapter=adapter,
                    source=case.source,
                    request=case.request,
                    keys=case.keys,
                    now_ms=case.now_ms,
                    header=case.proof_header,
                    covers_body=case.proof_header is not None and not case.proof.get("not_over_body"),
                )
            )
    return made
