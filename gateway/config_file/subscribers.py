"""``[subscribers.*]``: where events go, which of them, and how."""

import base64
import re
from ipaddress import ip_address, ip_network
from typing import Any

from gateway.config import SubscriberSettings
from gateway.config_file.references import References, is_reference
from gateway.config_file.section import Key, Reading, Section
from gateway.config_file.sources import check_name
from gateway.config_file.tables import masked, text_or_reference
from gateway.config_file.values import (
    DAY_MS,
    HEADER_NAME,
    MINUTE_MS,
    Fault,
    Network,
    Wrong,
    choice,
    did_you_mean,
    duration,
    flag,
    integer,
    list_of,
    network,
    rate,
    start,
    text,
)
from gateway.delivery.addresses import network_to_allow, refusal
from schemas.event import EVENT_TYPES

_RETRY = ["5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]
_FAMILIES = sorted({event_type.partition(".")[0] for event_type in EVENT_TYPES if "." in event_type})


def event_types(value: object) -> str:
    """``*``, ``<family>.*`` or one type."""
    known = {"*", *EVENT_TYPES, *(f"{family}.*" for family in _FAMILIES)}
    if not isinstance(value, str) or value not in known:
        example = '"*", "message.*" or a type that: gateway schema --lang ts prints'
        raise Wrong(f"matches no event{did_you_mean(value, known)}", example)
    return value


TYPES = Key("types", list_of(event_types, least=1), ["*"])
ORDER = Key("order", choice("none", "key"), "none")
FORMAT = Key("format", choice("canonical", "cloudevents-structured", "cloudevents-binary"), "canonical")
RAW = Key("raw", flag, True)
START = Key("start", start, "now")
TIMEOUT = Key("timeout", duration(100, 5 * MINUTE_MS), "15s")
CONCURRENCY = Key("concurrency", integer(1, 1_000), 32)
RATE = Key("rate", rate)
RETRY = Key("retry", list_of(duration(1, DAY_MS), most=50), _RETRY)
MAX_LAG = Key("max_lag", duration(MINUTE_MS, 3650 * DAY_MS), "5d")
ALLOW_NETWORKS = Key("allow_networks", list_of(network), [])

_RESERVED_HEADERS = re.compile(
    r"(webhook-.*|gateway-.*|ce-.*|content-.*|host|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade"
    r"|expect|date|accept-encoding)"
)
"""Signing, framing and the gateway's own: a subscriber's header must not replace one of these."""
_SECRET_HEADERS = re.compile(r"authorization|cookie|.*(token|secret|password|api-?key|credential).*")
"""Names whose value is a secret, so that it must be a reference."""
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


def read_subscribers(reading: Reading, tables: object) -> dict[str, SubscriberSettings]:
    """Every subscriber that could be read; what is wrong with the others stands in the problems."""
    if not isinstance(tables, dict):
        write = "[subscribers.NAME] on a line of its own, and its keys below"
        reading.problem(("subscribers",), "subscribers is not a table", write)
        return {}
    subscribers: dict[str, SubscriberSettings] = {}
    for name, table in tables.items():
        section = Section(reading, ("subscribers", name), table)
        check_name(section, name)
        settings = read_subscriber(section, name)
        if settings is not None:
            subscribers[name] = settings
    return subscribers


def read_subscriber(section: Section, name: str) -> SubscriberSettings | None:
    """One subscriber; ``None`` if it lacks what it cannot do without. Problems are noted in the section's reading."""
    references = section.reading.references
    url = section.read_required(
        Key("url", lambda value: text_or_reference(references, value), shown=masked), 'url = "https://…"'
    )
    variable = name.upper().replace("-", "_")
    secrets = section.read_required(
        Key("secrets", list_of(lambda value: signing_secret(references, value), least=1, most=16), shown=masked),
        f'secrets = ["env:{variable}_SECRET"]',
    )
    headers = section.read(Key("headers", lambda value: _headers(references, value), {}, shown=_masked_headers))
    allow_networks = section.read(ALLOW_NETWORKS)
    if url is not None:
        check_url(section, url, allow_networks)
    types = section.read(TYPES)
    choices: dict[str, Any] = {
        "types": types,
        "where": section.read_optional(Key("where", lambda value: _where(value, types))),
        "order": section.read(ORDER),
        "format": section.read(FORMAT),
        "raw": section.read(RAW),
        "start": section.read(START),
        "timeout_s": section.read(TIMEOUT),
        "concurrency": section.read(CONCURRENCY),
        "rate_per_s": section.read_optional(RATE),
        "retry_s": section.read(RETRY),
        "max_lag_s": section.read(MAX_LAG),
    }
    section.finish()
    if url is None or secrets is None:
        return None
    return SubscriberSettings(
        name=name, url=url, secrets=secrets, headers=headers, allow_networks=allow_networks, **choices
    )


def _where(value: object, types: tuple[str, ...]) -> str:
    """An expression that could match an event of ``types``; what is wrong is said with its column."""
    expression = text(value)
    from gateway.delivery.condition import BadCondition, Condition  # loaded only where somebody filters

    try:
        Condition(expression, types)
    except BadCondition as bad:
        places = [f"is wrong at column {mistake.column}: " if mistake.column else "" for mistake in bad.mistakes]
        faults = [
            Fault((), place + mistake.why, mistake.write) for place, mistake in zip(places, bad.mistakes, strict=True)
        ]
        raise Wrong(faults=faults) from None
    return expression


def check_url(section: Section, url: str, allow_networks: tuple[Network, ...]) -> None:
    """The rules that can be told from the text alone; what a name resolves to is checked at each connection.

    Read with the parser of the client that will connect, since a host has hundreds of spellings.
    """
    from pyreqwest.http import Url

    try:
        parts = Url(url)
        host = parts.host_str or ""
    except ValueError:
        section.problem(("url",), "is not a URL", '"https://" and a host')
        return
    if parts.scheme not in {"http", "https"} or not host:
        section.problem(("url",), "is not an http or https URL", '"https://" and a host')
        return
    if parts.username or parts.password is not None:
        section.problem(("url",), "holds a user or a password", "a header instead: headers = { authorization = … }")
    if parts.fragment is not None:
        section.problem(("url",), "has a fragment, which is never sent", "the URL without # and what follows")
    if parts.port == 0:
        section.problem(("url",), "has port 0, at which nobody can listen", "the port it listens on, or none")
    itself = section.reading.itself
    if itself is not None and itself.is_written_in(parts):
        section.problem(
            ("url",),
            "leads to the gateway itself (listen or public_url), so that each delivery would come in again",
            "where the receiver listens; if the gateway does not listen there, mend listen in [gateway]",
        )
        return
    if parts.scheme == "https":
        _check_literal(section, host, allow_networks)
        return
    networks = _networks_of(host)
    if not networks or _may_lie_in(host, allow_networks):
        _check_literal(section, host, allow_networks)
    elif not allow_networks:
        section.problem(
            ("url",),
            "is http, so that anyone on the way could read and change events",
            f"https, or for a target in a network of your own allow_networks = [{networks}] beside it",
        )
    else:
        section.problem(
            ("url",),
            f"is http, and {host} is in none of allow_networks",
            f"https, or its network there as well: allow_networks = [{networks}, …]",
        )


def _check_literal(section: Section, host: str, allow_networks: tuple[Network, ...]) -> None:
    """A URL that names an address itself is judged now: else all its events would become dead letters to say so."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return
    rule = refusal(address, allow_networks)
    if rule is not None:
        network = network_to_allow(address)
        write = "a public address or name" + (
            f', or if it is your own allow_networks = ["{network}"]' if network else ""
        )
        section.problem(("url",), f"leads to {address}, which is not public ({rule})", write)


def _networks_of(host: str) -> str:
    """What to write into ``allow_networks`` for a host; of a name, an example. Empty where nothing would help."""
    if _is_localhost(host):
        return '"127.0.0.0/8", "::1/128"'
    try:
        network = network_to_allow(ip_address(host.strip("[]")))
    except ValueError:
        return '"10.2.0.0/16"'
    return f'"{network}"' if network else ""


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _may_lie_in(host: str, allow_networks: tuple[Network, ...]) -> bool:
    """Whether a host of an http URL can be in a network that was allowed. Names are only known when they resolve."""
    if _is_localhost(host):
        return any(allowed.network_address.is_loopback for allowed in allow_networks)
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return bool(allow_networks)
    return any(ip_network(address) == allowed or address in allowed for allowed in allow_networks)


def signing_secret(references: References, value: object) -> str:
    """``whsec_`` and base64 of 24 to 64 bytes, or ``whsk_`` and base64 of 64: as Standard Webhooks writes keys."""
    secret = references.resolve(value).decode("utf-8", "replace")
    write = "what this prints, to where the reference points: gateway secret new --kind whsec"
    if secret.startswith("whsk_"):
        length_ok = _decoded_length(secret.removeprefix("whsk_")) == 64
        if length_ok:
            _check_key_pair(secret, write.replace("whsec", "whsk"))
    elif secret.startswith("whsec_"):
        length_ok = 24 <= _decoded_length(secret.removeprefix("whsec_")) <= 64
    else:
        raise Wrong("leads to something that begins with neither whsec_ nor whsk_", write)
    if not length_ok:
        raise Wrong("leads to a key that is not base64 of 24 to 64 bytes (whsec_) or of 64 (whsk_)", write)
    return secret


def _check_key_pair(secret: str, write: str) -> None:
    from gateway.delivery.signing import public_key  # loaded only where somebody has such a key

    try:
        public_key(secret)
    except ValueError as error:
        raise Wrong(f"leads to what cannot sign: {error}", write) from None


def _decoded_length(encoded: str) -> int:
    try:
        return len(base64.b64decode(encoded, validate=True))
    except ValueError:
        return -1


def _headers(references: References, value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Wrong("is not a table of headers", '{ x-team = "crm" }')
    headers: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for name, content in value.items():
        try:
            headers.append((_header_name(name), _header_value(references, name, content)))
        except Wrong as wrong:
            faults.extend(Fault((name,), fault.why, fault.write) for fault in wrong.faults)
    if len({name for name, _ in headers}) < len(headers):
        faults.append(Fault((), "names one header twice", "each header once; capitals make no difference"))
    if faults:
        raise Wrong(faults=faults)
    return tuple(headers)


def _masked_headers(value: dict[str, Any]) -> dict[str, Any]:
    return {name: content if is_reference(content) else "…" for name, content in value.items()}


def _header_name(name: str) -> str:
    if not HEADER_NAME.fullmatch(name):
        raise Wrong("is not a header's name", "letters, digits and -")
    if _RESERVED_HEADERS.fullmatch(name.lower()):
        raise Wrong("would replace a header that signs or frames the delivery", "another name, like x-team")
    return name.lower()


def _header_value(references: References, name: str, content: object) -> str:
    if not is_reference(content) and _SECRET_HEADERS.fullmatch(name.lower()):
        raise Wrong("carries a secret by its name; secrets do not stand in this file", '"env:NAME"')
    if not is_reference(content) and not isinstance(content, str):
        raise Wrong("is not a text", 'a text in quotes, like "crm"')
    value = text_or_reference(references, content)
    if not _HEADER_VALUE.fullmatch(value):
        raise Wrong("holds what a header cannot carry", "printable ASCII, no spaces at its ends")
    return value
