"""The bodies that handlers read by hand (``reading.py``), as the description tells them.

The settings of a subscriber are read by the rules of the file, which name every mistake at once; a framework's own
reading would stop at the first. So their shape stands here for the description alone, and a test compares its fields
with what the reader knows.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.operate.api.reload import ReloadOrder
from gateway.operate.replay_views import ReplayOrder
from gateway.operate.subscriber_views import PauseOrder, TestOrder

_NETWORKS = "Private networks the URL may lead to. http is only for those."
_REFERENCE = "env:NAME, credential:name, or file:secrets/NAME in the data directory."


class SubscriberNew(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A subscriber to make: `name`, and the settings of `[subscribers.NAME]` in the file."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$", examples=["crm"])]
    url: Annotated[
        str,
        Meta(
            description="https without user and query, or a reference set aside for subscribers: env:SUBSCRIBER_NAME.",
            examples=["https://crm.example.com/hooks"],
        ),
    ]
    secrets: (
        Annotated[
            list[str],
            Meta(
                min_length=1,
                max_length=16,
                description=f"All of them sign; by reference: {_REFERENCE} Null: one is made.",
            ),
        ]
        | None
    ) = None
    types: Annotated[list[str], Meta(min_length=1, description="Types, families such as message.*, or *.")] | None = (
        None
    )
    where: Annotated[str, Meta(description="A CEL condition on `event`.", max_length=2_000)] | None = None
    order: Annotated[str, Meta(description="none, or key: in order for each ordering key.")] | None = None
    format: Annotated[str, Meta(description="canonical, cloudevents-structured or cloudevents-binary")] | None = None
    raw: Annotated[bool, Meta(description="With what the provider sent.")] | None = None
    start: Annotated[str, Meta(description="now, beginning, or a time: where a new one begins.")] | None = None
    timeout: Annotated[str, Meta(description="Of an attempt.", examples=["15s"])] | None = None
    concurrency: Annotated[int, Meta(ge=1, le=1_000, description="Attempts at once.")] | None = None
    rate: Annotated[str, Meta(description="Attempts begin no faster.", examples=["50/s"])] | None = None
    retry: Annotated[list[str], Meta(max_length=50, description="Waits between attempts.")] | None = None
    max_lag: Annotated[str, Meta(description="What lies longer in the log is given up.", examples=["5d"])] | None = None
    allow_networks: Annotated[list[str], Meta(description=_NETWORKS)] | None = None
    headers: (
        Annotated[
            dict[str, str],
            Meta(description="Sent along; secrets by reference: env:SUBSCRIBER_NAME, credential:subscriber-NAME."),
        ]
        | None
    ) = None


BODIES: dict[str, type[msgspec.Struct]] = {
    "create_subscriber": SubscriberNew,
    "pause_subscriber": PauseOrder,
    "test_subscriber": TestOrder,
    "reload": ReloadOrder,
    "create_replay": ReplayOrder,
}
"""Operation → its body."""

PATCHES = {"change_subscriber": SubscriberNew}
"""Operation → what its merge patch changes."""

OPTIONAL = frozenset({"pause_subscriber", "test_subscriber", "reload"})
"""Operations whose body may be left away."""

_COMPONENTS = "#/components/schemas/{name}"


def body_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Operation → schema of its body, and the components these refer to."""
    kinds = list(BODIES.values())
    references, components = msgspec.json.schema_components(kinds, ref_template=_COMPONENTS)
    found = dict(zip(BODIES, references, strict=True))
    for operation, kind in PATCHES.items():
        whole = components[kind.__name__]
        name = f"{kind.__name__.removesuffix('New')}Patch"
        components[name] = {
            **{key: value for key, value in whole.items() if key != "required"},
            "title": name,
            "description": "A JSON merge patch (RFC 7396): what is null goes back to its default.",
        }
        found[operation] = {"$ref": _COMPONENTS.format(name=name)}
    return found, components
