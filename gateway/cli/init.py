"""``gateway init``: a ``gateway.toml`` and a ``.env`` that are ready to run, for the providers one chooses."""

import os
import stat
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import rich_click as click

from gateway.cli.common import Exit, Refusal, config_option, console, is_interactive
from gateway.cli.template import Chosen, Secrets, Written, write, write_dotenv
from gateway.config_file.values import NAME
from gateway.errors import ConfigError


@click.command()
@config_option
@click.option("--providers", metavar="A,B", help="A source for each of these adapters, named after it.")
@click.option("--source", "sources", multiple=True, metavar="NAME=ADAPTER", help="A source with a name of your own.")
@click.option("--subscriber", "subscribers", multiple=True, metavar="[NAME=]URL", help="Where events are delivered.")
@click.option("--force", is_flag=True, help="Write anew; the old gateway.toml is kept beside it, .env only grows.")
def init(
    *, config_path: Path, providers: str | None, sources: tuple[str, ...], subscribers: tuple[str, ...], force: bool
) -> None:
    """Write gateway.toml and .env, with fresh secrets, for the providers you choose.

    On a terminal it asks for what was not given. Nothing that exists is overwritten.
    """
    if config_path.exists() and not force:
        raise Refusal(
            f"{config_path} is there already and is not overwritten\n"
            "look at it with gateway check, or write a new one with --force (the old one is kept)",
            Exit.USAGE,
        )
    chosen = Chosen(sources=_sources(providers, sources), subscribers=_subscribers(subscribers))
    if not chosen.sources:
        chosen = _asked(chosen)
    for name in (*chosen.sources, *chosen.subscribers):
        if not NAME.fullmatch(name):
            raise Refusal(
                f"{name!r} is no name: small letters, digits and -, up to 63, not beginning with -", Exit.USAGE
            )
    written = write(chosen)
    dotenv_path = config_path.parent / ".env"
    try:
        present = _present(dotenv_path)
        _check(config_path, written, present)
        added = {name: secret for name, secret in written.secrets.items() if name not in present}
        _append_dotenv(dotenv_path, added)
        kept = _write_new(config_path, written.toml)
    except OSError as error:
        raise Refusal(f"cannot write {error.filename}: {error.strerror}", Exit.CONFIG) from None
    _tell(config_path, dotenv_path, written, len(added), kept)


def _tell(config_path: Path, dotenv_path: Path, written: Written, added: int, kept: Path | None) -> None:
    out = console()
    if kept is not None:
        out.print(f"kept the old one as {kept}", soft_wrap=True)
    secrets = "1 secret" if added == 1 else f"{added} secrets"
    out.print(f"wrote {config_path}, and {secrets} into {dotenv_path} (mode 0600)", soft_wrap=True)
    for setting in written.to_edit:
        out.print(f"write your own values: {setting}", style="yellow", soft_wrap=True)
    out.print("next:")
    for command, what in (
        ("gateway urls", "what to paste where, provider by provider"),
        ("gateway check", "look for mistakes"),
        ("gateway serve", "run"),
    ):
        out.print(f"  {command:<16}{what}")


def _sources(providers: str | None, named: Iterable[str]) -> dict[str, str]:
    """Name → adapter."""
    from adapters.registry import names

    chosen = {
        adapter.replace("_", "-"): adapter
        for adapter in (part.strip() for part in (providers or "").split(","))
        if adapter
    }
    for pair in named:
        name, equals, adapter = pair.partition("=")
        if not equals:
            raise Refusal(f"--source {pair}: write NAME=ADAPTER, like --source enviaai-br=enviaai", Exit.USAGE)
        chosen[name] = adapter
    known = names()
    for adapter in chosen.values():
        if adapter not in known:
            raise Refusal(f"{adapter} is no adapter; there are {', '.join(known)}", Exit.USAGE)
    return chosen


def _subscribers(given: Iterable[str]) -> dict[str, str]:
    """Name → URL; the first without a name is called ``app``."""
    chosen: dict[str, str] = {}
    for pair in given:
        name, _, url = pair.partition("=") if "://" not in pair.partition("=")[0] else ("app", "", pair)
        chosen[name] = url
    return chosen


def _asked(chosen: Chosen) -> Chosen:
    """Ask for the providers, and where events shall go."""
    from adapters.contract import Adapter
    from adapters.registry import find, names

    if not is_interactive():
        raise Refusal(
            f"which providers? write --providers and some of: {','.join(names())}\n"
            "or --source NAME=ADAPTER for a name of your own",
            Exit.USAGE,
        )
    out = console()
    for name in names():
        adapter = find(name, Path())
        out.print(f"  {name:<16}{adapter.title if isinstance(adapter, Adapter) else 'cannot be used'}")
    sources = _sources(click.prompt("Providers, with commas between them"), ())
    subscribers = chosen.subscribers
    if not subscribers:
        url = click.prompt(
            "Where shall events be delivered (a URL; empty for nowhere yet)", default="", show_default=False
        )
        subscribers = _subscribers([url] if url else [])
    return Chosen(sources=sources, subscribers=subscribers)


def _present(dotenv_path: Path) -> dict[str, str]:
    """The variables that stand in ``.env`` already: they stay as they are."""
    from gateway.config_file.document import read_dotenv

    present, problems = read_dotenv(dotenv_path.parent)
    if problems:
        raise ConfigError(problems)
    return {name: value for name, value in present.items() if value}


def _check(config_path: Path, written: Written, present: dict[str, str]) -> None:
    """What is written must load: a mistake in a name or a URL is told now. Raises ``ConfigError``."""
    from gateway.config_file.document import read_text

    fresh = {name: value for name, (value, _) in written.secrets.items()}
    read_text(config_path, written.toml, {}, {**fresh, **present})


def _append_dotenv(path: Path, secrets: Secrets) -> None:
    """Add variables. The file is for its owner alone from its first byte on."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
        before = file.read()
        gap = b"" if not before or before.endswith(b"\n") else b"\n"
        file.write(gap + write_dotenv(secrets, is_new=not before).encode())


def _write_new(path: Path, text: str) -> Path | None:
    """Write the file; one that is there is moved aside first. Returns where to."""
    kept = None
    if path.exists():
        asides = (path.with_name(f"{path.name}.{number}.bak") for number in count(1))
        kept = next(aside for aside in asides if not aside.exists())
        path.rename(kept)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return kept
