"""``gateway send``: a signed request to a running gateway, as the provider would send it."""

import difflib
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import rich_click as click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from rich.table import Table

from adapters.contract import Adapter, Ignored, NotProven, Request, Source, no_key_wanted, prove
from adapters.registry import BrokenAdapter, find
from gateway.cli.common import Exit, Refusal, config_option, console, json_option, load_config, print_json
from gateway.config import Config, path_token
from gateway.config_file.values import Wrong
from gateway.config_file.values import rate as read_rate
from gateway.intake.pipeline import Events, receive
from gateway.simulator import lines, sending
from gateway.simulator.requests import Answer, Prepared, choose_case, parse_change, prepare

_ANSWER_WITHIN_S = 10.0
"""How long to wait for the answer where the provider does not say how long it waits."""


@click.command()
@click.argument("source")
@click.argument("case", required=False)
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change the JSON body before it is signed.")
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, help="How many, each another event.")
@click.option("--rate", metavar="N/s", help="At most so many: 50/s, 30/m. Without it one follows the other.")
@click.option(
    "--url",
    metavar="URL",
    envvar="GATEWAY_URL",
    help="Where the gateway is, e.g. http://127.0.0.1:8080; else the config's listen.",
)
@click.option(
    "--signing-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="GATEWAY_SEND_SIGNING_KEY",
    help="A private key in PEM, for sources proven by a public key.",
)
@click.option(
    "--key-url", metavar="URL", envvar="GATEWAY_SEND_KEY_URL", help="Where the request says its public key stands."
)
@config_option
@json_option
def send(
    *,
    source: str,
    case: str | None,
    changes: Sequence[str],
    times: int,
    rate: str | None,
    url: str | None,
    signing_key: Path | None,
    key_url: str | None,
    config_path: Path,
    as_json: bool,
) -> None:
    """Send CASE to SOURCE, signed with the secrets of the configuration.

    CASE is a name or its beginning; without one the cases are listed. Each request is another event, with ids of its
    own. --set data.content=Hello changes the body; the value is JSON where it can be.
    """
    config = load_config(config_path)
    adapter, proven_as = _find(config, source)
    if case is None:
        return _list_cases(adapter, source, as_json=as_json)
    try:
        case = choose_case(adapter.cases, case)
        wanted = [parse_change(change) for change in changes]
    except ValueError as error:
        raise Refusal(str(error), Exit.USAGE) from None
    sender = _Sender(
        adapter=adapter,
        source=proven_as,
        signer=_signer(adapter, proven_as, signing_key, key_url),
        url=f"{url.rstrip('/') if url else _base_url(config)}/in/{source}",
        path_token=path_token(config, source, os.environ),
    )
    sys.exit(_send_all(sender, case, wanted, times, _interval_s(rate), as_json=as_json))


def _find(config: Config, name: str) -> tuple[Adapter, Source]:
    settings = config.sources.get(name)
    if settings is None:
        near = difflib.get_close_matches(name, config.sources, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(config.sources)}"
        raise Refusal(f"no source is called {name!r} in {config.path.name}; {hint}", Exit.USAGE)
    adapter = find(settings.adapter, config.path.parent)
    if isinstance(adapter, BrokenAdapter):
        raise Refusal(f"the adapter of {name} cannot be used: {adapter.reason}", Exit.CONFIG)
    return adapter, settings.source


def _list_cases(adapter: Adapter, source: str, *, as_json: bool) -> None:
    rows = [(case, _becomes(adapter, case)) for case in adapter.cases]
    if as_json:
        for case, becomes in rows:
            print_json({"source": source, "case": case, "becomes": becomes})
        return
    table = Table("case", "becomes", box=None, pad_edge=False, header_style="dim")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _becomes(adapter: Adapter, case: str) -> str:
    """What the gateway would make of it, from the same pure code that decides it there."""
    anybody = Source(name="sample", unauthenticated=True)
    outcome = receive(Request((), adapter.sample(case, 1)), anybody, adapter, {}, 0)
    if isinstance(outcome, Events):
        return ", ".join(item.event.type for item in outcome.events)
    return "(ignored)" if isinstance(outcome, Ignored) else "(quarantine)"


def _signer(adapter: Adapter, source: Source, signing_key: Path | None, key_url: str | None) -> Source:
    """The source as ``sign`` wants it. Raises ``Refusal`` where only the provider itself could sign."""
    if adapter.key_wanted is no_key_wanted or source.unauthenticated:
        return source
    if signing_key is None:
        raise Refusal(
            f"{adapter.title} signs with a private key that only it has: its requests cannot be made here.\n"
            "To play it against a gateway of your own, make a key pair, put the public half into this source as\n"
            '  public_key = "file:test-key.pem"\n'
            "and give the private half with --signing-key. (The demo's gateway.toml says how it is done there.)",
            Exit.USAGE,
        )
    pem = signing_key.read_bytes()
    try:
        serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # unreadable, encrypted, or of a kind nobody knows
        raise Refusal(
            f"--signing-key {signing_key}: not a private key in PEM without a passphrase; `openssl genrsa` makes one",
            Exit.USAGE,
        ) from None
    options: dict[str, Any] = {**source.options, "signing_key": pem}
    if key_url is not None:
        options["key_url"] = key_url
    return msgspec.structs.replace(source, options=options)


class _Sender(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a running gateway, from the provider's side."""

    adapter: Adapter
    source: Source
    """As the gateway knows it."""
    signer: Source
    """The same with what signing needs."""
    url: str
    """Without the path token, so it may be shown."""
    path_token: str | None

    def send(self, client: httpx.Client, request: Prepared) -> Answer:
        """Make one attempt."""
        url = f"{self.url}/{self.path_token}" if self.path_token else self.url
        return sending.post(client, url, request, self.adapter.ack_deadline_s or _ANSWER_WITHIN_S)

    def why_not_proven(self, request: Prepared) -> str:
        """The gateway tells a sender nothing, but whoever has the configuration may ask the adapter himself."""
        headers = tuple((name.lower().encode(), value.encode()) for name, value in request.headers.items())
        token = self.path_token.encode() if self.path_token else None
        asked = Request(headers, request.body, path_token=token, client_ip="127.0.0.1")
        try:
            prove(self.adapter, asked, self.source, _public_keys(self.signer), _wall_ms())
        except NotProven as error:
            return f"By this configuration: {error.reason}."
        return "By this configuration it is proven: the running gateway has another one, and must be started again."


def _base_url(config: Config) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.gateway.host, config.gateway.host)  # noqa: S104  compared, not listened on
    return f"http://[{host}]:{config.gateway.port}" if ":" in host else f"http://{host}:{config.gateway.port}"


def _interval_s(rate: str | None) -> float:
    if rate is None:
        return 0.0
    try:
        return 1 / read_rate(rate)
    except Wrong as error:
        raise Refusal(f"--rate {rate} {error.faults[0].why}; write {error.faults[0].write}", Exit.USAGE) from None


def _send_all(
    sender: _Sender, case: str, changes: list[tuple[str, Any]], times: int, interval_s: float, *, as_json: bool
) -> int:
    outcomes: Counter[str] = Counter()
    began_s = next_s = time.monotonic()
    with sending.make_client() as client:
        for number in range(times):
            time.sleep(max(0.0, next_s - time.monotonic()))
            next_s = max(next_s + interval_s, time.monotonic())
            request, line = _send_one(sender, client, case, changes)
            outcomes[_outcome(line)] += 1
            _show(line, as_json=as_json)
            if line.status == 401 and number == 0:
                click.echo(sender.why_not_proven(request), err=True)
    if times > 1 and not as_json:
        took_s = time.monotonic() - began_s
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        click.echo(f"{times} requests in {took_s:.1f} s ({times / took_s:.0f}/s): {counts}")
    return Exit.FINDINGS if outcomes["rejected"] or outcomes["refused"] else Exit.FINE


def _send_one(
    sender: _Sender, client: httpx.Client, case: str, changes: list[tuple[str, Any]]
) -> tuple[Prepared, lines.Sent]:
    sent_ms, sent_s = _wall_ms(), time.monotonic()
    try:
        request = prepare(
            sender.adapter, sender.signer, case, seed=secrets.randbits(48), now_ms=sent_ms, changes=changes
        )
    except ValueError as error:
        raise Refusal(f"--set: {error}", Exit.USAGE) from None
    answer = sender.send(client, request)
    if answer.status is None:
        raise Refusal(
            f"no gateway answers at {sender.url}: {answer.detail}\n"
            "Is it running? `gateway serve` starts it, --url says where else to look.",
            Exit.UNREACHABLE,
        )
    return request, lines.Sent(
        at_ms=sent_ms,
        source=sender.source.name,
        provider=sender.adapter.name,
        case=case,
        purpose="sample",
        attempt=1,
        status=answer.status,
        outcome=answer.outcome,
        events=answer.events,
        duration_ms=round((time.monotonic() - sent_s) * 1000, 1),
        detail=answer.detail,
    )


def _show(line: lines.Sent, *, as_json: bool) -> None:
    if as_json:
        return lines.write(line)
    events = ", ".join(f"{event.type} {event.id} {event.status}" for event in line.events)
    said = " · ".join(filter(None, (f"{line.status} {_outcome(line)}", events, line.detail)))
    return click.echo(f"{line.case} → {said} · {line.duration_ms:.0f} ms")


def _outcome(line: lines.Sent) -> str:
    """In a person's words: the gateway did answer what counts as unanswered for a provider, which sends it again."""
    return "refused" if line.outcome == "unanswered" else line.outcome


def _public_keys(signer: Source) -> dict[str, bytes]:
    """The public half of the signing key, under the URL where the request says it stands."""
    pem, url = signer.options.get("signing_key"), signer.options.get("key_url")
    if not isinstance(pem, bytes) or not isinstance(url, str):
        return {}
    public = serialization.load_pem_private_key(pem, password=None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return {url: public.public_bytes(serialization.Encoding.PEM, form)}


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
