"""The command ``gateway``. Each verb lives in a module that is imported only when the verb runs.

``VERBS`` is the whole command: adding a verb is adding its line. ``--help`` is drawn from this table, so it stays fast
whatever the verbs need. Exit codes: 0 fine, 1 findings, 2 usage, 3 configuration, 4 cannot reach (``common.Exit``).
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import rich_click

from gateway.cli.common import Refusal, exit_code_of
from gateway.errors import ConfigError, GatewayError


class Verb(NamedTuple):
    """Where a verb lives and what ``--help`` says of it."""

    module: str
    """``gateway.cli.<module>``, whose attribute of the verb's name is the click command."""
    panel: str
    help: str


VERBS: dict[str, Verb] = {
    "demo": Verb("demo", "Begin", "See it work on this machine: five providers, one subscriber."),
    "init": Verb("init", "Begin", "Write gateway.toml and .env for the providers you choose."),
    "check": Verb("check", "Begin", "Look for mistakes in the configuration, all at once."),
    "urls": Verb("urls", "Begin", "What to paste where, provider by provider."),
    "serve": Verb("serve", "Run", "Run the gateway."),
    "send": Verb("send", "Run", "Send a signed request as a provider would."),
    "reload": Verb("reload", "Run", "Have the running gateway read its configuration again."),
    "status": Verb("status", "Look", "Is anything lost? The equation, sources and subscribers."),
    "tail": Verb("tail", "Look", "Events as they come."),
    "events": Verb("events", "Look", "Search the events in the log."),
    "show": Verb("show", "Look", "One event: canonical, raw, and its deliveries."),
    "trace": Verb("trace", "Look", "Why an event reached a subscriber, or did not, line by line."),
    "audit": Verb("audit", "Look", "Count everything again, from the log and not from the counters."),
    "changes": Verb("changes", "Look", "Who changed what, and who logged in."),
    "dead": Verb("dead", "Mend", "Dead letters: list, show, retry, drop."),
    "subscribers": Verb("subscribers", "Mend", "Subscribers: list, show, create, test, delete."),
    "pause": Verb("pause", "Mend", "Hold the deliveries to one subscriber."),
    "resume": Verb("pause", "Mend", "Let them go on."),
    "replay": Verb("replay", "Mend", "Send events again, to a subscriber or a URL; a dry run first."),
    "alerts": Verb("alerts", "Mend", "Alerts: test whether one arrives."),
    "backup": Verb("backup", "Mend", "Copy the running embedded store into a folder."),
    "restore": Verb("backup", "Mend", "Put a backup into an empty data directory."),
    "schema": Verb("schema", "Build", "The event as JSON Schema, TypeScript or Python types."),
    "secret": Verb("secret", "Build", "Make a secret: for subscribers, tokens and paths."),
}


class VerbGroup(rich_click.RichGroup):
    """A group that knows its verbs by name and help, and imports the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which is the order one meets them in."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Put the real command in the place of its entry in the table."""
        name, entry, rest = super().resolve_command(ctx, args)
        if name is None or entry is None:
            return name, entry, rest
        return name, load_verb(name), rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run; what the gateway refuses on purpose becomes lines on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            _complain(error.problems)
            ctx.exit(exit_code_of(error))
        except (Refusal, GatewayError) as error:
            _complain(str(error).splitlines())
            ctx.exit(exit_code_of(error))


def load_verb(name: str) -> click.Command:
    """Import a verb's module and return its command."""
    command: click.Command = getattr(importlib.import_module(f"gateway.cli.{VERBS[name].module}"), name)
    return command


def _complain(lines: list[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


def group() -> VerbGroup:
    """The command, with an entry for each verb."""
    panels = list(dict.fromkeys(verb.panel for verb in VERBS.values()))
    made = VerbGroup(
        name="gateway",
        help="Inbound webhooks, proven, deduplicated, on disk, and delivered as one kind of event.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
        no_args_is_help=True,
        panels=[rich_click.RichCommandPanel(panel) for panel in panels],
    )
    for name, verb in VERBS.items():
        made.add_command(rich_click.RichCommand(name=name, short_help=verb.help, panel=verb.panel))
    made.params.append(
        rich_click.RichOption(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
        )
    )
    return made


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version  # 20 ms that only this option needs

        click.echo(f"gateway {version('webhook-gateway')}")
        ctx.exit()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command. Leaves with ``SystemExit``."""
    group().main(args=arguments, prog_name="gateway")
