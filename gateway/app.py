"""Wiring, and only wiring: builds every part from the configuration. ``start_stop.py`` starts and stops them."""

import asyncio
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from gateway.config import Config, SubscriberSettings, Token, load
from gateway.config_file.document import read_dotenv
from gateway.config_file.written import Read, read_written
from gateway.delivery.dispatcher import Dispatcher
from gateway.delivery.guard import Guard
from gateway.delivery.hurry import hurry
from gateway.delivery.lane import Lane
from gateway.delivery.replay import Replayer
from gateway.delivery.roster import Roster
from gateway.delivery.sharing import Sharing
from gateway.delivery.signing import public_key
from gateway.delivery.standing import Standings
from gateway.intake.committer import Committer
from gateway.intake.configured import inlets, key_host, limits, make_spool
from gateway.intake.connections import Connections
from gateway.intake.draining import Drainer
from gateway.intake.endpoint import Endpoint
from gateway.intake.keys import KeyFetcher
from gateway.intake.shortcut import shortcut
from gateway.intake.spool import Spool
from gateway.intake.wire import Edge
from gateway.operate.access import Access, all_tokens
from gateway.operate.alerts import Alerts
from gateway.operate.changes import Actor, change_of, tell
from gateway.operate.desk import Desk
from gateway.operate.gate import Door
from gateway.operate.processes import Process
from gateway.operate.replaying import ReplayDesk, forget_secret, read_target
from gateway.operate.subscribers import Subscribers
from gateway.operate.this_process import ThisProcess
from gateway.operate.trying import Trial
from gateway.reloading import Reloader
from gateway.routes import make_app
from gateway.start_stop import StartStop
from gateway.store.connection import Store
from gateway.store.deliverers import Deliverers
from gateway.store.embedded import EmbeddedStore, socket_path
from gateway.store.housekeeping import Housekeeping
from gateway.store.layout import Keys, tags
from gateway.store.lease import Lease, owner_name
from gateway.store.log import PartitionLog
from gateway.store.parked import SubscriberStore
from gateway.store.subscribers import StoredSubscribers
from gateway.store.subscribing import subscribe_all
from gateway.store.visits import VisitBook
from gateway.workers.everywhere import Everywhere, answers, ask_what_they_know
from gateway.workers.exchange import ALONE, Exchange, Place

Role = Literal["all", "intake", "delivery"]


def wall_ms() -> int:
    """The wall clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Gateway:
    """One process of the gateway."""

    def __init__(self, config: Config, *, role: Role, listen: tuple[str, int], place: Place = ALONE) -> None:
        """Build everything; nothing runs yet. ``listen`` is where this process serves HTTP.

        ``place``: which of several workers it is; then their parent runs the embedded store.
        """
        self.config = config
        self.role: Role = role
        settings = config.store
        url = f"unix://{socket_path(settings.data_dir)}" if settings.data_dir else settings.url
        self.store = Store(settings, url)
        # Its own connections, so that no crowd of deliveries or questions can keep a request waiting.
        self.intake_store = Store(settings, url, connections=settings.partitions + 1)
        self.keys = [Keys(tag) for tag in tags(settings.partitions)]
        self.logs = [PartitionLog(self.store, keys) for keys in self.keys]
        self.housekeeping = Housekeeping(
            self.store,
            self.keys,
            wall_ms=wall_ms,
            monotonic=time.monotonic,
            is_configured=lambda name: name in self.config.subscribers,
            delivers=role != "intake",
        )
        intake_logs = [PartitionLog(self.intake_store, keys) for keys in self.keys]
        self.spool: Spool | None = None
        if role != "delivery":
            self.spool = make_spool(
                settings,
                intake_logs,
                make_name=lambda: f"{wall_ms()}-{secrets.token_hex(8)}",
                wall_ms=wall_ms,
                has_room=self._has_room,
            )
        self.committers = [
            Committer(each, monotonic=time.monotonic, partition=number, spool=self.spool)
            for number, each in enumerate(intake_logs)
        ]
        self.key_fetcher = KeyFetcher(monotonic=time.monotonic, **key_host(os.environ))
        self.endpoint = Endpoint(
            inlets(config, workers=place.workers),
            self.committers,
            self.key_fetcher,
            wall_ms=wall_ms,
            monotonic=time.monotonic,
            max_body_bytes=config.gateway.max_body_bytes,
            trusted_proxies=config.gateway.trusted_proxies,
            has_room=lambda: self.spool is not None or self._has_room(),
        )
        self.edge = Edge(Connections(limits(config.gateway)), self.endpoint.noise, self.endpoint.stats.answers)
        guard = Guard(own=(listen,), public_url=config.gateway.public_url)
        self.itself = guard.itself
        owner = owner_name()
        self.standings = Standings(self.store, self.keys, wall_ms=wall_ms)
        self.dispatchers = [
            Dispatcher(
                partition_log=each,
                lease=Lease(self.store, keys, owner),
                subscribers=list(config.subscribers.values()),
                make_lane=partial(self._lane, keys, each, guard),
                most_lag_bytes=settings.most_lag_bytes,
                wall_ms=wall_ms,
                monotonic=time.monotonic,
            )
            for keys, each in zip(self.keys, self.logs, strict=True)
        ]
        self.sharing = Sharing(Deliverers(self.store, self.keys, owner), self.dispatchers)
        self.here = ThisProcess(
            worker=place.worker,
            sight=lambda: self.desk.sight,
            store=self.store,
            housekeeping=self.housekeeping,
            spool=self.spool,
            stats=self.endpoint.stats,
            connections=self.edge.connections,
            dispatchers=self.dispatchers,
        )
        self.desk = Desk(
            config=config,
            store=self.store,
            keys=self.keys,
            logs=self.logs,
            wall_ms=wall_ms,
            here=self.here.knows,
            away=self.here.away,
            plight=self.here.plight,
            takes=self.here.takes,
            spooled=self.here.spooled,
            others=self._others,
        )
        self.access = Access(
            self._tokens(config),
            VisitBook(self.store, self.keys[0]),
            wall_ms=wall_ms,
            secure_cookie=(config.gateway.public_url or "").startswith("https://"),
        )
        self.door = Door(self.access, monotonic=time.monotonic, trusted_proxies=config.gateway.trusted_proxies)
        stored = StoredSubscribers(self.store, self.keys)
        self.roster = Roster(
            config,
            stored,
            read=self._read_written,
            apply=self._deliver_to,
            changed=self._use,
            hurry=self._hurry,
        )
        self.reloader = Reloader(
            config,
            read=lambda: load(config.path, os.environ),
            replace_sources=lambda wanted: self.endpoint.replace(inlets(wanted, workers=place.workers)),
            replace_tokens=lambda wanted: self.access.replace(self._tokens(wanted)),
            replace_subscribers=self.roster.use_file,
            tell=self._tell_reload,
        )
        self.exchange: Exchange | None = None
        self.everywhere: Reloader | Everywhere = self.reloader
        if place.folder is not None:
            self.exchange = Exchange(place, answers(self.reloader, self.here.knows))
            self.everywhere = Everywhere(self.reloader, self.exchange, place.worker)
        self.subscribers = Subscribers(
            sight=self.desk.sight,
            roster=self.roster,
            stored=stored,
            read=self._read_written,
            data_dir=config.data_dir,
            delivers_alone=lambda: all(dispatcher.holds for dispatcher in self.dispatchers),
            public_key=public_key,
            hurry=self._hurry,
        )
        trial = Trial(guard, wall_ms=wall_ms, monotonic=time.monotonic, nonce=lambda: secrets.token_hex(16))
        replay_desk = ReplayDesk(
            sight=self.desk.sight,
            guard=guard,
            read=self._read_written,
            data_dir=config.data_dir,
            monotonic=time.monotonic,
            random_bytes=secrets.token_bytes,
        )
        self.replayer = Replayer(
            store=self.store,
            keys=self.keys,
            logs=self.logs,
            owner=owner,
            guard=guard,
            subscribers=lambda: self.config.subscribers,
            read_target=partial(read_target, self._read_written),
            forget_secret=partial(forget_secret, config.data_dir),
            wall_ms=wall_ms,
            monotonic=time.monotonic,
        )
        self.alerts = Alerts(
            self.desk.sight,
            guard,
            owner=owner,
            is_first=place.worker == 0,
            monotonic=time.monotonic,
            nonce=lambda: secrets.token_hex(16),
        )
        drainer = None
        if self.spool is not None:
            drainer = Drainer(
                self.spool, intake_logs, has_room=self._has_room, wall_ms=wall_ms, monotonic=time.monotonic
            )
        self._start_stop = StartStop(
            settings,
            takes_requests=role != "delivery",
            delivers=role != "intake",
            embedded=EmbeddedStore(settings) if settings.data_dir and not place.folder else None,
            store=self.store,
            intake_store=self.intake_store,
            keys=self.keys,
            housekeeping=self.housekeeping,
            exchange=self.exchange,
            roster=self.roster,
            spool=self.spool,
            drainer=drainer,
            committers=self.committers,
            key_fetcher=self.key_fetcher,
            sharing=self.sharing,
            dispatchers=self.dispatchers,
            replayer=self.replayer,
            alerts=self.alerts,
        )
        self.app = make_app(
            endpoint=None if role == "delivery" else self.endpoint,
            here=self.here,
            door=self.door,
            desk=self.desk,
            subscribers_desk=self.subscribers,
            trial=trial,
            reloader=self.everywhere,
            replay_desk=replay_desk,
            alerts=self.alerts,
        )
        self.asgi: Any = self.app if role == "delivery" else shortcut(self.endpoint, self.app)
        """What the server calls: the app, with the intake a few steps nearer to the socket."""

    def _has_room(self) -> bool:
        return self.housekeeping.has_room

    @staticmethod
    def _tokens(config: Config) -> tuple[Token, ...]:
        return all_tokens(config.gateway.tokens, config.data_dir / "admin_token")

    def _lane(self, keys: Keys, partition_log: PartitionLog, guard: Guard, subscriber: SubscriberSettings) -> Lane:
        store = SubscriberStore(self.store, keys, subscriber.name, partitions=len(self.keys))
        return Lane(
            subscriber,
            store,
            partition_log,
            guard,
            self.standings.of(subscriber.name),
            wall_ms=wall_ms,
            monotonic=time.monotonic,
            rate_share=1 / len(self.keys),  # each partition has a lane of its own
        )

    def _read_written(self, name: str, written: Mapping[str, Any]) -> Read:
        dotenv, _ = read_dotenv(self.config.path.parent)
        return read_written(name, written, self.config.data_dir, os.environ, dotenv, self.itself)

    async def _deliver_to(self, subscribers: Sequence[SubscriberSettings]) -> None:
        await subscribe_all(self.store, self.logs, {each.name: each.start for each in subscribers}, wall_ms())
        if self.role != "intake":
            await asyncio.gather(*[dispatcher.apply(subscribers) for dispatcher in self.dispatchers])

    async def _hurry(self, name: str) -> None:
        await hurry(self.store, self.keys, name, wall_ms())

    def _use(self, config: Config) -> None:
        self.config = self.desk.sight.config = config

    async def _tell_reload(self, who: Actor, before: dict[str, Any], after: dict[str, Any]) -> None:
        sight = self.desk.sight
        await tell(sight, change_of(sight, who, "reload", before=before, after=after))

    async def _others(self) -> tuple[list[Process], list[int]]:
        return await ask_what_they_know(self.exchange) if self.exchange else ([], [])

    async def start(self) -> None:
        """Start all parts, as ``StartStop.start`` does; it raises the same."""
        await self._start_stop.start()

    def hand_over(self) -> None:
        """Begin to stop delivering, while requests are still answered; ``stop`` waits for it."""
        self._start_stop.hand_over()

    async def stop(self) -> None:
        """Stop all parts, whether they were started or not."""
        await self._start_stop.stop()
        self.here.close()
