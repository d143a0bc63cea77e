"""``gateway secret new``: fresh secrets in the forms the configuration asks for."""

import base64
import secrets

import rich_click as click

_WHSEC_BYTES = 32
_TOKEN_BYTES = 32


def make(kind: str) -> str:
    """A secret of 256 random bits: ``whsec`` for subscribers, ``token`` for the API, ``path-token`` for URLs."""
    if kind == "whsec":
        return "whsec_" + base64.b64encode(secrets.token_bytes(_WHSEC_BYTES)).decode("ascii")
    return secrets.token_urlsafe(_TOKEN_BYTES)


@click.group(no_args_is_help=True)
def secret() -> None:
    """Make secrets."""


@secret.command()
@click.option(
    "--kind",
    type=click.Choice(["whsec", "token", "path-token"]),
    default="whsec",
    show_default=True,
    help="whsec: signs deliveries to a subscriber. token: for the API. path-token: the end of a source's URL.",
)
def new(kind: str) -> None:
    """Print a fresh secret. Put it into .env and refer to it with env:NAME."""
    click.echo(make(kind))
