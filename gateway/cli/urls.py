"""``gateway urls``: what to paste where, provider by provider, and what subscribers need to verify."""

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from gateway.cli.common import config_option, console, json_option, load_config, print_json

if TYPE_CHECKING:
    from gateway.config import Config

_WIDTH = 110
_LABEL = 10


@click.command()
@config_option
@click.option("--show-secrets", is_flag=True, help="Print path tokens, which are part of some URLs.")
@json_option
def urls(*, config_path: Path, show_secrets: bool, as_json: bool) -> None:
    """Print each source's URL, and what to do with it at the provider; of subscribers, how they verify."""
    config = load_config(config_path)
    sheets = [_sheet(config, name, show_secrets=show_secrets) for name in config.sources]
    slips = [_slip(config, name) for name in config.subscribers]
    if as_json:
        for sheet in [*sheets, *slips]:
            print_json(sheet)
        return
    notes = console(stderr=True)
    for sheet in sheets:
        _print(sheet)
    for slip in slips:
        _print_slip(slip)
    if not sheets:
        notes.print(f"{config_path} has no sources yet; gateway init writes some", soft_wrap=True)
    elif config.gateway.public_url is None:
        notes.print(
            'These URLs are this machine\'s own, which a provider cannot reach: write public_url = "https://…" into '
            "[gateway].",
            style="yellow",
            soft_wrap=True,
        )


def _sheet(config: "Config", name: str, *, show_secrets: bool) -> dict[str, Any]:
    """All that somebody needs who sits before the provider's settings page."""
    from adapters.registry import BrokenAdapter, find
    from gateway.config import path_token

    settings = config.sources[name]
    url = f"{_base_url(config)}/in/{name}"
    if settings.path_token_reference is not None:
        token = path_token(config, name, os.environ) if show_secrets else f"<{settings.path_token_reference}>"
        url = f"{url}/{token}"
    adapter = find(settings.adapter, config.path.parent)
    if isinstance(adapter, BrokenAdapter):
        return {"source": name, "adapter": settings.adapter, "url": url, "broken": adapter.reason}
    return {
        "source": name,
        "adapter": adapter.name,
        "provider": adapter.title,
        "url": url,
        "proven_by": "nothing: unauthenticated = true" if settings.source.unauthenticated else adapter.proven_by,
        "setup": adapter.setup.replace("{url}", url),
        "management": {what: how.replace("{url}", url) for what, how in adapter.management.items()},
        "documentation": list(adapter.documentation),
    }


def _slip(config: "Config", name: str) -> dict[str, Any]:
    """What the developer of a subscriber's app is told; no secret, no URL (a query in it may be one)."""
    from gateway.delivery.signing import public_key

    settings = config.subscribers[name]
    return {
        "subscriber": name,
        "types": list(settings.types),
        "format": settings.format,
        "public_keys": [public_key(secret) for secret in settings.secrets if secret.startswith("whsk_")],
        "shared_secrets": sum(secret.startswith("whsec_") for secret in settings.secrets),
    }


def _base_url(config: "Config") -> str:
    if config.gateway.public_url is not None:
        return config.gateway.public_url
    host = f"[{config.gateway.host}]" if ":" in config.gateway.host else config.gateway.host
    return f"http://{host}:{config.gateway.port}"


def _print(sheet: dict[str, Any]) -> None:
    out = console()
    out.print(f"{sheet['source']} · {sheet.get('provider', sheet['adapter'])}", style="bold")
    out.print(f"  {sheet['url']}", style="cyan", soft_wrap=True)
    if "broken" in sheet:
        out.print(f"  cannot be used: {sheet['broken']}\n", style="red", soft_wrap=True)
        return
    out.print(_paragraph("proof", sheet["proven_by"], out.width), soft_wrap=True)
    if sheet["setup"]:
        out.print(_paragraph("set-up", sheet["setup"], out.width), soft_wrap=True)
    for what, how in sheet["management"].items():
        out.print(f"  {what:<{_LABEL}}{'' if len(what) < _LABEL else ' '}{how}", style="dim", soft_wrap=True)
    for page in sheet["documentation"]:
        out.print(f"  {'see':<{_LABEL}}{page}", style="dim", soft_wrap=True)
    out.print()


def _paragraph(label: str, text: str, width: int) -> str:
    indent = " " * (_LABEL + 2)
    wrapped = textwrap.wrap(text, max(40, min(_WIDTH, width) - len(indent)), break_long_words=False)
    return f"  {label:<{_LABEL}}" + f"\n{indent}".join(wrapped)


def _print_slip(slip: dict[str, Any]) -> None:
    out = console()
    out.print(f"{slip['subscriber']} · subscriber", style="bold")
    out.print(f"  {'receives':<{_LABEL}}{', '.join(slip['types'])} as {slip['format']}", soft_wrap=True)
    if slip["shared_secrets"]:
        out.print(f"  {'verify':<{_LABEL}}v1 with the whsec_ secret it shares with the gateway", soft_wrap=True)
    for key in slip["public_keys"]:
        out.print(f"  {'verify':<{_LABEL}}v1a with the public key {key}", soft_wrap=True)
    out.print()
