"""Reading ``gateway.toml`` again while the gateway runs: what would change, and then the change.

Sources, subscribers and tokens change at once: a request under way ends with the source it began with, the next one
meets the new one, and none is refused in between. Everything else needs a restart and is only named. A file with a
mistake changes nothing, and neither does one that has lost everything: an editor writes a file by emptying it first,
and a provider that is told 404 does not come again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import structlog
from msgspec import Meta

from adapters.registry import is_outdated
from gateway import problems
from gateway.config import Config, Token
from gateway.errors import ConfigError, StoreError
from gateway.operate.changes import Actor, differences
from gateway.operate.refusals import Refused
from gateway.problems import Mistake

log = structlog.get_logger("gateway.operate")

LIVE = {"gateway": {"tokens"}}
"""Table → its settings that change without a restart, beside all of ``[sources.*]`` and ``[subscribers.*]``."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What changes about one source, subscriber or token."""

    what: Annotated[str, Meta(description="As the file names it.", examples=["subscribers.crm"])]
    change: Literal["added", "changed", "removed"]
    settings: Annotated[
        list[str],
        Meta(
            description="Of a changed one: which settings; `code` is that of the `.py` file a source's adapter is in.",
            examples=[["url", "types"]],
        ),
    ]


class WorkerReload(msgspec.Struct, frozen=True, kw_only=True):
    """What one of several workers did with the file."""

    worker: int
    done: Annotated[bool, Meta(description="It goes by the file now.")]
    why: Annotated[str | None, Meta(description="Why it could not; it goes on as before.")]


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload changed, or would change."""

    dry_run: bool
    changes: Annotated[list[Change], Meta(description="In force now, unless this is a dry run.")]
    restart: Annotated[
        list[str],
        Meta(description="Settings that differ from those in force and wait for a restart.", examples=[["store.url"]]),
    ]
    outdated: Annotated[
        list[str],
        Meta(description="Adapters whose module has changed since it was loaded: its code waits for a restart."),
    ] = []
    workers: Annotated[list[WorkerReload], Meta(description="Each of several; empty where there is one process.")] = []


class Reloader:
    """Reads the file again for one process."""

    def __init__(
        self,
        config: Config,
        *,
        read: Callable[[], Config],
        replace_sources: Callable[[Config], None],
        replace_tokens: Callable[[Config], None],
        replace_subscribers: Callable[[Config], Awaitable[None]],
        tell: Callable[[Actor, dict[str, Any], dict[str, Any]], Awaitable[None]],
    ) -> None:
        """``config``: the file as it was read at the start. ``read`` raises ``ConfigError``.

        ``tell`` writes who changed what, from what to what, into the audit log; it raises ``StoreUnavailable``.
        """
        self._at_start = self._in_force = config
        self._read = read
        self._replace_sources = replace_sources
        self._replace_tokens = replace_tokens
        self._replace_subscribers = replace_subscribers
        self._tell = tell
        self._lock = asyncio.Lock()

    async def reload(self, *, dry_run: bool, who: Actor, told: Sequence[Change] = ()) -> Reloaded:
        """Do it, or only say what it would do. Raises ``Refused`` for a file with mistakes; ``StoreUnavailable``.

        ``told``: changes that another worker has written into the audit log.
        """
        async with self._lock:
            try:
                # In a thread: a file on a slow disk must not keep requests waiting.
                wanted = await asyncio.to_thread(self._read)
            except ConfigError as error:
                log.warning("operate.reload", who=who.name, mistakes=len(error.problems))
                raise _refusal(error) from None
            if is_emptied(self._in_force, wanted):
                log.warning("operate.reload", who=who.name, mistakes=1)
                why = "names no source and no subscriber any more; write what shall stay, or stop the gateway"
                raise _refusal(ConfigError([f"{wanted.path}: {why}"]))
            answer = Reloaded(
                dry_run=dry_run,
                changes=changes(self._in_force, wanted),
                restart=needs_restart(self._at_start, wanted),
                outdated=await asyncio.to_thread(outdated, wanted),
            )
            if not dry_run:
                effective = without_restart(self._at_start, wanted)
                self._replace_sources(effective)
                self._replace_tokens(effective)
                # After the sources and the tokens: a token is taken away though the store cannot be told of it.
                if not told or any(each not in told for each in answer.changes):
                    await self._tell(who, *told_values(self._in_force, effective, answer.changes))
                await self._replace_subscribers(effective)
                self._in_force = effective
                log.info(
                    "operate.change",
                    what="reload",
                    who=who.name,
                    changes=[f"{each.what} {each.change}" for each in answer.changes],
                    restart=answer.restart,
                    outdated=answer.outdated,
                )
            return answer

    async def reload_quietly(self, who: str) -> None:
        """Reload for somebody who gets no answer: the log has it, mistakes included."""
        try:
            await self.reload(dry_run=False, who=Actor(name=who, role="operate"))
        except (Refused, StoreError) as error:
            log.error("operate.reload", who=who, why=str(error))


def changes(before: Config, after: Config) -> list[Change]:
    """What differs in the parts that change without a restart. Pure."""
    return [
        *_differences("sources", before.sources, after.sources),
        *_differences("subscribers", before.subscribers, after.subscribers),
        *_differences("gateway.tokens", _by_name(before.gateway.tokens), _by_name(after.gateway.tokens)),
    ]


def told_values(before: Config, after: Config, found: Sequence[Change]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that differ, before and after, as they may be shown; of a changed secret only that it is. Pure."""
    was, became = differences(_shown(before), _shown(after))
    for each in found:
        for setting in each.settings:
            if f"{each.what}.{setting}" not in {**was, **became}:
                became[f"{each.what}.{setting}"] = "changed"
        if not any(name.startswith(f"{each.what}.") for name in {**was, **became}):
            became[each.what] = each.change  # a token stands by its place in the file, not by its name
    return was, became


def _shown(config: Config) -> dict[str, Any]:
    live = ("sources.", "subscribers.", "gateway.tokens")
    return {
        f"{row.table}.{row.key}": row.value
        for row in config.origins
        if row.table.startswith(live) and row.origin != "default"
    }


def is_emptied(before: Config, after: Config) -> bool:
    """Whether there were sources, and the file names neither a source nor a subscriber now. Pure."""
    return bool(before.sources) and not (after.sources or after.subscribers)


def needs_restart(before: Config, after: Config) -> list[str]:
    """Settings that differ and that a running gateway does not change. Pure."""
    found = []
    for table in ("gateway", "store", "alerts"):
        one, other = getattr(before, table), getattr(after, table)
        found += [f"{table}.{field}" for field in _fields(one, other) if field not in LIVE.get(table, ())]
    return found


def outdated(config: Config) -> list[str]:
    """The adapters whose module has another code than the one that runs: Python imports a module once."""
    return sorted(filter(is_outdated, {source.adapter for source in config.sources.values()}))


def without_restart(before: Config, wanted: Config) -> Config:
    """What is in force after a reload: ``wanted``, but of what needs a restart what was there before. Pure.

    Else a part that looks into the configuration later, such as for the folder of the secrets, would go half-way.
    """
    gateway = msgspec.structs.replace(before.gateway, tokens=wanted.gateway.tokens)
    return msgspec.structs.replace(wanted, gateway=gateway, store=before.store, alerts=before.alerts)


def _by_name(tokens: Sequence[Token]) -> dict[str, Token]:
    return {token.name: token for token in tokens}


def _differences(table: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    found = []
    for name in sorted({*before, *after}):
        what = f"{table}.{name}"
        if name not in before:
            found.append(Change(what=what, change="added", settings=[]))
        elif name not in after:
            found.append(Change(what=what, change="removed", settings=[]))
        elif before[name] != after[name]:
            found.append(Change(what=what, change="changed", settings=_fields(before[name], after[name])))
    return found


_UNITS = ("_per_s", "_s", "_sha256")
_WORDS = {"max_body_bytes": "max_body", "host": "listen", "port": "listen", "path_token_reference": "path_token"}


def _fields(one: msgspec.Struct, other: msgspec.Struct) -> list[str]:
    """The settings in which two of a kind differ, by the names the file has for them."""
    found = []
    for field in one.__struct_fields__:
        before, after = getattr(one, field), getattr(other, field)
        if before == after:
            continue
        if field == "source":
            found += _fields(before, after)
            continue
        unit = next((unit for unit in _UNITS if field.endswith(unit)), "")
        found.append(_WORDS.get(field, field.removesuffix(unit)))
    return sorted(set(found))


def _refusal(error: ConfigError) -> Refused:
    mistakes = []
    for problem in error.problems:
        place, _, why = problem.partition(": ")
        mistakes.append(Mistake(place.rpartition("/")[2], why))  # the file's folder is nobody's business
    words = "; ".join(f"{each.at}: {each.why}" for each in mistakes)
    return Refused(problems.INVALID, f"nothing was changed: {words}", tuple(mistakes))
