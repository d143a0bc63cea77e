"""The ways to forge. Each takes a genuine request and changes it so that nobody who knows no secret is proven by it.

Not among them are other spellings of the same proof: hex digits in capitals are the same signature.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from functools import lru_cache
from random import Random

import msgspec
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from adapters.contract import Request
from tests.forgeries.genuine import BRAND, Genuine, as_pairs, rsa_keys

SERVED_FRESH_S = 30
"""How old a genuine request may be that is forged for a gateway whose clock goes on meanwhile."""

Forge = Callable[[Genuine, Random], Request | None]
"""The forged request; ``None`` where this way does not apply."""

_DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b")
_LABELS = (b"", b"sha256=", b"sha512=", b"sha1=", b"SHA256=", b"none=", b"hmac-sha256=", b"v1=", b"Bearer ")
_OTHER_SECRETS = (b"", b" ", b"0", b"secret", b"null", b"undefined", b"test", b"\xff" * 32, b"None", b"false")
_FULLWIDTH = {ord(digit): chr(0xFF10 + int(digit)) for digit in "0123456789"}
_ARABIC = {ord(digit): chr(0x0660 + int(digit)) for digit in "0123456789"}


def _value(genuine: Genuine) -> bytes | None:
    return None if genuine.header is None else dict(genuine.request.headers).get(genuine.header)


def _with(genuine: Genuine, *values: bytes) -> Request:
    """With the header that proves as often as there are values."""
    kept = tuple(pair for pair in genuine.request.headers if pair[0] != genuine.header)
    assert genuine.header is not None
    return msgspec.structs.replace(genuine.request, headers=(*kept, *((genuine.header, value) for value in values)))


def _change(value: bytes, chance: Random) -> bytes:
    """One character of it another, in such a way that it means another value (not a hex digit in capitals)."""
    at = chance.randrange(len(value))
    wanted = bytes([value[at]]).lower()
    other = chance.choice([digit for digit in b"0123456789abcdef+/-_=zZ" if bytes([digit]).lower() != wanted])
    return value[:at] + bytes([other]) + value[at + 1 :]


def changed_body(genuine: Genuine, chance: Random) -> Request | None:
    """The body flipped, cut, grown, emptied, written anew; the proof stays."""
    if not genuine.covers_body:
        return None
    body = genuine.request.body
    at = chance.randrange(len(body))
    ways = (
        lambda: body[:at] + bytes([body[at] ^ 1 << chance.randrange(8)]) + body[at + 1 :],
        lambda: body[:at],
        lambda: body + chance.choice((b" ", b"\n", b"\0", b"{}", body)),
        lambda: chance.choice((b" ", b"\xef\xbb\xbf", b"\0", b"{}")) + body,
        lambda: body[:at] + body[at + 1 :],
        lambda: body[:at] + body[at : at + 1] + body[at:],
        lambda: b"",
        lambda: json.dumps(json.loads(body), indent=chance.randrange(3)).encode(),
        lambda: body[::-1],
        lambda: body.decode().encode("utf-16"),
    )
    return msgspec.structs.replace(genuine.request, body=chance.choice(ways)())


def swapped_body(genuine: Genuine, chance: Random) -> Request | None:
    """The genuine body of another request under this one's proof."""
    if not genuine.covers_body:
        return None
    adapter = genuine.adapter
    body = adapter.sample(chance.choice(adapter.cases), chance.randrange(1_000, 1_000_000))
    return msgspec.structs.replace(genuine.request, body=body)


def changed_proof(genuine: Genuine, chance: Random) -> Request | None:
    """The header that proves: one character another, cut, grown, empty, another case, with white space in it."""
    value = _value(genuine)
    if not value:
        return None
    at = chance.randrange(1, len(value))
    digits = value.partition(b"=")[2]  # engium may write them alone: the same proof in another spelling
    capitals = not genuine.covers_body or genuine.adapter.name == "flexengage"
    ways: list[Callable[[], bytes]] = [
        lambda: _change(value, chance),
        lambda: value[:at],
        lambda: value[at:] if value[at:] != digits else value[at + 1 :],
        lambda: value + value[-1:],
        lambda: value + b"0" * chance.randrange(1, 130),
        lambda: value[: len(value) // 2] * 2 + value[-1:],
        lambda: b"",
        lambda: value[:at] + chance.choice((b" ", b"\t", b"\0", b"\xa0", b"\x0b", b"_", b":")) + value[at:],
        lambda: chance.choice((b" ", b"\t", b"\0", b"0x", b'"')) + value,
        lambda: value + chance.choice((b"\n", b"\r\n", b"\0", b";")),
        lambda: value[::-1] if value[::-1] != value else b"",
        lambda: value + b"," + value,
        lambda: b"\x00" * len(value),
        lambda: b"\xff" * len(value),
        lambda: value.decode("latin-1").translate(chance.choice((_FULLWIDTH, _ARABIC))).encode() + b"\xc2\xb2",
        lambda: chance.randbytes(len(value)),
        lambda: chance.choice((b"null", b"true", b"[]", b"{}", b"none", b"0", b"1", b"undefined", b"sha256=", b"=")),
    ]
    if capitals:
        ways.append(lambda: value.swapcase())
    return _with(genuine, chance.choice(ways)())


def missing_proof(genuine: Genuine, chance: Random) -> Request | None:
    """Without the header that proves, or with it under another name."""
    value = _value(genuine)
    if value is None or genuine.header is None:
        return None
    without = _with(genuine)
    name = chance.choice((b"", b"x-", b"authorization", genuine.header + b" ", genuine.header.replace(b"-", b"_")))
    extra = () if not name else ((name, value),)
    return msgspec.structs.replace(without, headers=(*without.headers, *extra))


def doubled_proof(genuine: Genuine, chance: Random) -> Request | None:
    """Two proofs: which one was meant is open, even where they are equal."""
    value = _value(genuine)
    if not value:
        return None
    return _with(
        genuine, *chance.choice(((value, value), (value, _change(value, chance)), (_change(value, chance), value)))
    )


def _hmac_values(genuine: Genuine, secret: bytes, body: bytes, algorithm: str, chance: Random) -> bytes:
    digest = hmac.digest(secret, body, algorithm)
    return chance.choice(_LABELS) + chance.choice(
        (digest.hex().encode(), base64.b64encode(digest), digest, digest.hex().upper().encode())
    )


def other_secret(genuine: Genuine, chance: Random) -> Request | None:
    """Well signed, with a secret that is not the source's: guessed, empty, another source's."""
    if not genuine.source.secrets or not genuine.covers_body:
        return None
    own = genuine.source.secrets
    secret = chance.choice(
        (chance.randbytes(24), *_OTHER_SECRETS, own[0][:-1], own[0] + b"x", own[0].swapcase(), own[0].hex().encode())
    )
    if secret in own:
        return None
    if genuine.signer is None or chance.random() < 0.3:
        return _with(genuine, _hmac_values(genuine, secret, genuine.request.body, chance.choice(_DIGESTS), chance))
    if not secret:
        return None  # ``sign`` wants one
    signer = msgspec.structs.replace(genuine.signer, secrets=(secret,))
    headers = as_pairs(genuine.adapter.sign(genuine.request.body, signer, genuine.now_ms))
    return msgspec.structs.replace(genuine.request, headers=headers)


def other_algorithm(genuine: Genuine, chance: Random) -> Request | None:
    """What the request says of the algorithm counts for nothing: digests of every kind, keyed or not, with any name."""
    if not genuine.source.secrets or not genuine.covers_body:
        return None
    secret, body = genuine.source.secrets[0], genuine.request.body
    right = "sha512" if genuine.adapter.name == "generic_chat" else "sha256"
    algorithm = chance.choice([name for name in _DIGESTS if name != right])
    ways = (
        lambda: algorithm.encode() + b"=" + hmac.digest(secret, body, algorithm).hex().encode(),
        lambda: _hmac_values(genuine, secret, body, algorithm, chance),
        lambda: _hmac_values(genuine, body, secret, right, chance),
        lambda: _hmac_values(genuine, secret, body + b"\n", right, chance),
        lambda: _hmac_values(genuine, secret, b"", right, chance),
        lambda: _hmac_values(genuine, secret, hashlib.sha256(body).digest(), right, chance),
        lambda: chance.choice(_LABELS) + hashlib.new(right, secret + body).hexdigest().encode(),
        lambda: chance.choice(_LABELS) + hashlib.new(right, body).hexdigest().encode(),
        lambda: chance.choice(_LABELS) + hmac.digest(secret, body, right).hex().encode().hex().encode(),
    )
    return _with(genuine, chance.choice(ways)())


def wrong_time(genuine: Genuine, chance: Random) -> Request | None:
    """Well signed, but stale, of the future, or with a time that is written in another way."""
    if genuine.source.options.get("signed_time") is not True or not genuine.source.secrets:
        return None
    secret, body, now_s = genuine.source.secrets[0], genuine.request.body, genuine.now_ms // 1_000

    def signed(written: bytes) -> bytes:
        return b"t=" + written + b",v1=" + hmac.digest(secret, written + b"." + body, "sha256").hex().encode()

    away_s = 901 + int(10 ** chance.uniform(0, 8))
    value = _value(genuine) or b""
    ways = (
        lambda: signed(str(max(0, now_s - away_s)).encode()),
        lambda: signed(str(now_s + away_s + SERVED_FRESH_S).encode()),
        lambda: signed(str(genuine.now_ms).encode()),
        lambda: signed(chance.choice((b"-1", b"", b"0x1", b"1e9", b"%d.0" % now_s, b"+%d" % now_s, b" %d" % now_s))),
        lambda: signed(str(now_s).translate(_FULLWIDTH).encode()),
        lambda: value.replace(b"t=", b"t=%d,t=" % (now_s - 1), 1),
        lambda: value.replace(str(now_s).encode(), str(now_s + chance.randrange(1, 60)).encode(), 1),
        lambda: value.partition(b",")[2],
        lambda: value.partition(b",")[0],
        lambda: value.replace(b"v1=", b"v0=", 1),
        lambda: b"sha256=" + hmac.digest(secret, body, "sha256").hex().encode(),
    )
    forged = chance.choice(ways)()
    return None if forged == value else _with(genuine, forged)


def other_source(genuine: Genuine, chance: Random) -> Request | None:
    """A genuine request of this provider, for another of its customers."""
    if genuine.signer is None or not genuine.source.secrets:
        return None
    signer = msgspec.structs.replace(genuine.signer, secrets=(b"the secret of customer %d" % chance.randrange(99),))
    headers = as_pairs(genuine.adapter.sign(genuine.request.body, signer, genuine.now_ms))
    return msgspec.structs.replace(genuine.request, headers=headers)


def _signs(genuine: Genuine) -> RSAPrivateKey | None:
    """The provider's private key, for what only the provider can sign."""
    if genuine.signer is None or genuine.adapter.name != "flexengage":
        return None
    return _private("flexengage")


@lru_cache(maxsize=4)
def _private(name: str) -> RSAPrivateKey:
    key = load_pem_private_key(rsa_keys(name).private, password=None)
    assert isinstance(key, RSAPrivateKey)
    return key


def other_rsa(genuine: Genuine, chance: Random) -> Request | None:
    """RSA signatures by another key, with another padding, another hash, grown by the modulus, in another base64."""
    key = _signs(genuine)
    if key is None:
        return None
    body, value = genuine.request.body, _value(genuine) or b""
    signature = base64.b64decode(value)
    number = int.from_bytes(signature, "big") + key.public_key().public_numbers().n
    longest = padding.PSS(padding.MGF1(SHA256()), padding.PSS.MAX_LENGTH)
    ways = (
        lambda: base64.b64encode(_private("another").sign(body, padding.PKCS1v15(), SHA256())),
        lambda: base64.b64encode(
            key.sign(body, padding.PKCS1v15(), chance.choice((SHA1(), SHA512())))
        ),  # weak on purpose
        lambda: base64.b64encode(key.sign(body, longest, SHA256())),
        lambda: base64.b64encode(key.sign(body + b"\n", padding.PKCS1v15(), SHA256())),
        lambda: base64.b64encode(number.to_bytes(len(signature) + 1, "big")),
        lambda: base64.b64encode(b"\0" + signature),
        lambda: base64.b64encode(chance.choice((b"\0", b"\1", b"\xff")) * len(signature)),
        lambda: value + b"=",
        lambda: value.rstrip(b"="),
        lambda: value[:40] + b"\n" + value[40:],
        lambda: b"\n" + value,
        lambda: signature.hex().encode(),
        lambda: base64.b64encode(signature[:-1]),
        lambda: base64.b64encode(body),
    )
    forged = chance.choice(ways)()
    return None if forged == value else _with(genuine, forged)


def other_account(genuine: Genuine, chance: Random) -> Request | None:
    """Signed by the provider itself, for another customer of it, or for nobody we can tell."""
    key = _signs(genuine)
    if key is None:
        return None
    document = json.loads(genuine.request.body)
    brands = (
        "other",
        "",
        BRAND.lower(),
        BRAND + " ",
        " " + BRAND,
        BRAND[:-1],
        BRAND + "\0",
        [BRAND],
        {"id": BRAND},
        None,
    )
    document["brandId"] = chance.choice((*brands, 0, True, BRAND.replace("o", "о")))  # the last o is Cyrillic
    document["brandID"] = document["brand_id"] = BRAND
    body = chance.choice(
        (
            json.dumps(document).encode(),
            json.dumps([document, {"brandId": BRAND}]).encode(),
            json.dumps({"data": {"brandId": BRAND}, "id": "x"}).encode(),
            b'{"brandId":"' + BRAND.encode() + b'","brandId":"other"}',
            b'"' + BRAND.encode() + b'"',
            json.dumps({**document, "brandId": BRAND}).encode("utf-16"),
            b'{"brandId":"' + BRAND.encode() + b'"',
        )
    )
    signature = base64.b64encode(key.sign(body, padding.PKCS1v15(), SHA256()))
    return msgspec.structs.replace(_with(genuine, signature), body=body)


_KEY_URLS = (
    "https://evil.example/keys/1.pem",
    "http://assets.webhooks.flexengage.com/keys/1.pem",
    "https://assets.webhooks.flexengage.com.evil.example/1.pem",
    "https://assets.webhooks.flexengage.com@evil.example/1.pem",
    "https://evil.example\\@assets.webhooks.flexengage.com/1.pem",
    "https://assets.webhooks.flexengage.com\\.evil.example/1.pem",
    "https://evil.example/https://assets.webhooks.flexengage.com/1.pem",
    "https://assets.webhooks.flexengage.com:8443/1.pem",
    "https://assets.webhooks.flexengage.com:443@evil.example/1.pem",
    "https://assets.webhooks.flexengage.com:443.evil.example/1.pem",
    "https://assets.webhooks.flexengage-test.com/1.pem",
    "https://assetsxwebhooks.flexengage.com/1.pem",
    "https://evil.assets.webhooks.flexengage.com/1.pem",
    "https:///assets.webhooks.flexengage.com/1.pem",
    "https://assets.webhooks.flexengage.com",
    "https://assets.webhooks.flexengage.com./1.pem",
    "https://assets.webhooks.flexengage.com%2eevil.example/1.pem",
    "//assets.webhooks.flexengage.com/1.pem",
    "file:///etc/passwd",
    "data:text/plain,x",
    "https://127.0.0.1/1.pem",
    "https://[::1]/1.pem",
    "https://assets.webhooks.flexengage.com\n.evil.example/1.pem",
    "https://assets.webhooks.flexengage.com\t/1.pem",
    " https://assets.webhooks.flexengage.com/keys/1.pem",
    "",
)


def other_key(genuine: Genuine, chance: Random) -> Request | None:
    """Signed by a key of the forger's, with a URL that leads to it."""
    if not genuine.keys or _signs(genuine) is None:
        return None
    signature = base64.b64encode(_private("another").sign(genuine.request.body, padding.PKCS1v15(), SHA256()))
    forged = _with(genuine, signature)
    url = chance.choice(_KEY_URLS).encode()
    kept = tuple(pair for pair in forged.headers if pair[0] != b"x-fr-wh-pk")
    right = dict(genuine.request.headers)[b"x-fr-wh-pk"]
    urls = chance.choice(((url,), (url,), (url, right), (right, url), (right,), ()))
    return msgspec.structs.replace(forged, headers=(*kept, *((b"x-fr-wh-pk", each) for each in urls)))


def other_token(genuine: Genuine, chance: Random) -> Request | None:
    """Another path token, or none."""
    token = genuine.request.path_token
    if genuine.source.path_token_sha256 is None or token is None:
        return None
    at = chance.randrange(len(token))
    digest = genuine.source.path_token_sha256
    given = (None, b"", token[:at], token[at + 1 :], token + b"0", token.swapcase(), _change(token, chance))
    return msgspec.structs.replace(
        genuine.request,
        path_token=chance.choice((*given, digest, digest.hex().encode(), b"%" + token, token + b"/", b"*", b"\xff")),
    )


def other_address(genuine: Genuine, chance: Random) -> Request | None:
    """From another address, with headers that claim the right one."""
    if not genuine.source.allow_ips:
        return None
    right = str(genuine.source.allow_ips[0].network_address)
    bits = int(genuine.source.allow_ips[0].network_address) ^ 1 << chance.randrange(32)
    numbers = ".".join(str(byte) for byte in bits.to_bytes(4, "big"))
    ways = (
        numbers,
        None,
        "",
        "127.0.0.1",
        "::1",
        f"{right} ",
        f"{right}/32",
        f"{right}.",
        f"0{right}",
        f"{right}, {numbers}",
    )
    claims = tuple(
        (name, right.encode())
        for name in (b"x-forwarded-for", b"x-real-ip", b"forwarded", b"client-ip", b"cf-connecting-ip")
    )
    return msgspec.structs.replace(
        genuine.request,
        client_ip=chance.choice((*ways, "not an address", right.translate(_FULLWIDTH))),
        headers=(*genuine.request.headers, *claims),
    )


WAYS: dict[str, Forge] = {
    way.__name__.replace("_", " "): way
    for way in (
        *(changed_body, swapped_body, changed_proof, missing_proof, doubled_proof, other_secret, other_algorithm),
        *(wrong_time, other_source, other_rsa, other_account, other_key, other_token, other_address),
    )
}
