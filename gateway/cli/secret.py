"""``gateway secret new``: fresh secrets in the forms the configuration asks for."""

import base64
import secrets

import rich_click as click

_WHSEC_BYTES = 32
_SEED_BYTES = 32
_TOKEN_BYTES = 32


def make(kind: str) -> str:
    """A secret of 256 random bits: ``whsec`` or ``whsk`` for subscribers, ``token`` for the API, ``path-token`` for
    URLs."""
    if kind == "whsk":
        return _key_pair()
    if kind == "whsec":
        return "whsec_" + base64.b64encode(secrets.token_bytes(_WHSEC_BYTES)).decode("ascii")
    return secrets.token_urlsafe(_TOKEN_BYTES)


def _key_pair() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # only this kind needs it
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    seed = secrets.token_bytes(_SEED_BYTES)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return "whsk_" + base64.b64encode(seed + public).decode("ascii")


@click.group(no_args_is_help=True)
def secret() -> None:
    """Make secrets."""


@secret.command()
@click.option(
    "--kind",
    type=click.Choice(["whsec", "whsk", "token", "path-token"]),
    default="whsec",
    show_default=True,
    help="whsec: signs deliveries to a subscriber. whsk: so that it verifies with a public key, which gateway urls "
    "shows. token: for the API. path-token: the end of a source's URL.",
)
def new(kind: str) -> None:
    """Print a fresh secret. Put it into .env and refer to it with env:NAME."""
    click.echo(make(kind))
