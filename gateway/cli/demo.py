"""``gateway demo``: the whole way of a webhook, on this machine, in one command."""

import asyncio
import os
import sys

import rich_click as click

from gateway.cli.common import Exit, Refusal, json_option

_WATCHED_PER_S, _ONCE_WATCHED_PER_S, _ONCE_PER_S = 3.0, 8.0, 100.0
"""Requests a second: slow enough to follow where somebody watches; one round in a pipe is not worth a wait."""
_INTERRUPTED = 130


@click.command()
@click.option("--once", is_flag=True, help="Send one round, wait until all is settled, and end.")
@json_option
def demo(*, once: bool, as_json: bool) -> None:
    """Watch requests of all five providers being proven, logged and delivered.

    Starts a gateway with an embedded store, a small subscriber that fails now and then, and a simulator that sends
    correctly signed requests over real HTTP: processes of their own, on the loopback address, in a temporary
    directory, with fresh secrets. Runs until Ctrl-C, or with --once until one round has arrived.

    The exit code is 0 only if every event arrived and nothing is unaccounted for. With --json the last line is the
    ledger with "ok".
    """
    from gateway.simulator.children import Failed
    from gateway.simulator.director import perform
    from gateway.simulator.screen import choose

    screen = choose(json=as_json, environment=os.environ)
    screen.say("Webhook gateway demo", "bold")
    screen.say("five providers → one kind of event → a subscriber that fails now and then\n", "dim")
    watched = not as_json and sys.stdout.isatty()
    rate_per_s = _WATCHED_PER_S if not once else _ONCE_WATCHED_PER_S if watched else _ONCE_PER_S
    try:
        code = asyncio.run(perform(screen, once=once, rate_per_s=rate_per_s))
    except Failed as error:
        raise Refusal(str(error), Exit.FINDINGS) from None
    except (asyncio.CancelledError, KeyboardInterrupt):
        code = _INTERRUPTED
    sys.exit(code)
