"""Tokens, login links and sessions, without HTTP, on a real store."""

import asyncio
import stat
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from gateway.config import StoreSettings, Token, hash_token
from gateway.errors import ConfigError, StoreUnavailable
from gateway.operate.access import (
    LOGIN_TTL_S,
    SESSION_TTL_S,
    Access,
    Identity,
    admin_token,
    all_tokens,
    may,
)
from gateway.store.connection import Store
from gateway.store.embedded import EmbeddedStore
from gateway.store.layout import Keys
from gateway.store.visits import MOST, VisitBook

TOKENS = (
    Token(name="grafana", role="read", secret_sha256=hash_token("reading")),
    Token(name="ops", role="operate", secret_sha256=hash_token("operating")),
)
NOW_MS = 1_770_120_000_000


class Clock:
    """A wall clock that tests move."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class Desk:
    """Several processes' accesses on one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()

    def process(self, url: str | None = None) -> Access:
        """One more process, with one token of each role."""
        book = VisitBook(self.store if url is None else Store(self.store.settings, url), Keys("0"))
        return Access(TOKENS, book, wall_ms=self.clock, secure_cookie=False)


def run(settings: StoreSettings, story: Callable[[Desk], Awaitable[None]]) -> None:
    """Play a story on an empty store."""

    async def play() -> None:
        store = Store(settings, EmbeddedStore(settings).url)
        await store.call("FLUSHALL")
        try:
            await story(Desk(store))
        finally:
            await store.close()

    asyncio.run(play())


def make() -> Access:
    """An access whose store nobody asks."""
    return Access(TOKENS, VisitBook(cast("Store", None), Keys("0")), wall_ms=Clock(), secure_cookie=False)


def test_a_token_is_known_by_its_secret_alone() -> None:
    """The secret gives name and role; a prefix, an empty text and other characters give nothing."""
    access = make()
    assert access.by_token("operating") == Identity(name="ops", role="operate", token=TOKENS[1])
    assert access.by_token("reading") == Identity(name="grafana", role="read", token=TOKENS[0])
    for wrong in ("", "operatin", "operating ", "öperating", "\udcff", hash_token("operating").hex()):
        assert access.by_token(wrong) is None


def test_operate_may_what_read_may_and_not_the_reverse() -> None:
    """The roles are ordered."""
    access = make()
    reader, operator = access.by_token("reading"), access.by_token("operating")
    assert reader is not None
    assert operator is not None
    assert [may(reader, "read"), may(reader, "operate"), may(operator, "read"), may(operator, "operate")] == [
        True, False, True, True,
    ]  # fmt: skip


def test_a_login_link_of_one_process_opens_one_session_in_any_however_often_it_is_looked_at(
    store_settings: StoreSettings,
) -> None:
    """Looking does not use it up; of ten who use it at once in two processes one gets a session, good in both."""

    async def story(at: Desk) -> None:
        one, other = at.process(), at.process()
        nonce = (await one.new_login("http://127.0.0.1:8080/")).removeprefix("http://127.0.0.1:8080/login/")
        assert len(nonce) >= 43
        assert all([await access.is_login(nonce) for access in (one, other, other)])
        opened = await asyncio.gather(*[access.use_login(nonce) for access in (one, other) for _ in range(5)])
        (secret,) = [each for each in opened if each is not None]
        for access in (one, other, at.process()):
            identity = await access.by_session(secret)
            assert identity is not None
            assert (identity.role, identity.name) == ("operate", "login link")
            assert not await access.is_login(nonce)

    run(store_settings, story)


def test_a_login_link_ends_after_fifteen_minutes(store_settings: StoreSettings) -> None:
    """Just before it is good, at the time it is not, nor after the clock jumped back by a day."""

    async def story(at: Desk) -> None:
        access = at.process()
        first, second = [(await access.new_login("http://h")).rpartition("/")[2] for _ in range(2)]
        at.clock.now_ms -= 86_400_000
        assert not await access.is_login(first)
        at.clock.now_ms = NOW_MS + round(LOGIN_TTL_S * 1000) - 1
        assert await access.use_login(first) is not None
        at.clock.now_ms += 1
        assert not await access.is_login(second)
        assert await access.use_login(second) is None

    run(store_settings, story)


def test_a_session_ends_by_time_and_by_logging_out_anywhere(store_settings: StoreSettings) -> None:
    """After twelve hours, or when closed in another process, its secret means nobody."""

    async def story(at: Desk) -> None:
        one, other = at.process(), at.process()
        kept, closed = [await one.open_session(Identity(name="ops", role="read")) for _ in range(2)]
        assert await other.by_session(closed) is not None
        await one.close_session(closed)
        assert await other.by_session(closed) is None
        at.clock.now_ms += round(SESSION_TTL_S * 1000) - 1
        assert await other.by_session(kept) is not None
        at.clock.now_ms += 1
        assert await other.by_session(kept) is None

    run(store_settings, story)


def test_sessions_are_bounded_and_the_oldest_makes_room(store_settings: StoreSettings) -> None:
    """More logins than fit do not grow the store; those that have ended go first."""

    async def story(at: Desk) -> None:
        access = at.process()
        secrets = []
        for _ in range(MOST["session"] + 1):
            at.clock.now_ms += 1_000
            secrets.append(await access.open_session(Identity(name="ops", role="operate")))
        assert await access.by_session(secrets[0]) is None
        assert await access.by_session(secrets[1]) is not None
        assert await access.by_session(secrets[-1]) is not None
        assert await at.store.call("HLEN", "{0}:sessions") == MOST["session"]
        at.clock.now_ms += round(SESSION_TTL_S * 1000)
        await access.open_session(Identity(name="ops", role="operate"))
        assert await at.store.call("HLEN", "{0}:sessions") == 1

    run(store_settings, story)


def test_what_the_store_keeps_of_links_and_sessions_opens_nothing(store_settings: StoreSettings) -> None:
    """Neither secret stands there, nor the token, its hash or the token of the forms, nor is any of it a secret."""

    async def story(at: Desk) -> None:
        access = at.process()
        nonce = (await access.new_login("http://h")).rpartition("/")[2]
        operator = access.by_token("operating")
        assert operator is not None
        secret = await access.open_session(operator)
        identity = await access.by_session(secret)
        assert identity is not None
        assert identity.session is not None
        kept = [*await at.store.call("HGETALL", "{0}:logins"), *await at.store.call("HGETALL", "{0}:sessions")]
        told = b" ".join(kept).decode()
        for hidden in (nonce, secret, "operating", hash_token("operating").hex(), identity.session.csrf_token):
            assert hidden not in told
        for field in kept:
            assert await access.by_session(field.decode()) is None
            assert await access.use_login(field.decode()) is None

    run(store_settings, story)


def test_a_session_ends_with_its_token_in_every_process(store_settings: StoreSettings) -> None:
    """Also in one that starts later; one whose token is still there stays, and so does one of a login link."""

    async def story(at: Desk) -> None:
        one, other = at.process(), at.process()
        opened = {}
        for word in ("reading", "operating"):
            identity = one.by_token(word)
            assert identity is not None
            opened[word] = await one.open_session(identity)
        opened["link"] = await one.open_session(Identity(name="login link", role="operate"))
        assert all([await other.by_session(each) for each in opened.values()])
        other.replace(TOKENS[:1])
        assert await other.by_session(opened["operating"]) is None
        assert await other.by_session(opened["reading"]) is not None
        assert await other.by_session(opened["link"]) is not None
        assert await one.by_session(opened["operating"]) is not None, "the control: there the token still counts"

    run(store_settings, story)


def test_a_session_that_was_seen_is_known_while_the_store_is_away(store_settings: StoreSettings) -> None:
    """Pages then say what they can; one that was not seen here cannot be judged, which is no 401."""

    async def story(at: Desk) -> None:
        access, away = at.process(), at.process("unix:///nowhere/valkey.sock")
        secret = await access.open_session(Identity(name="ops", role="read"))
        seen = await access.by_session(secret)
        assert seen is not None
        with pytest.raises(StoreUnavailable):
            await away.by_session(secret)
        access._book = away._book
        assert await access.by_session(secret) == seen
        at.clock.now_ms += round(SESSION_TTL_S * 1000)
        assert await access.by_session(secret) is None

    run(store_settings, story)


def test_the_admin_token_is_written_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The file has mode 0600, is read again as it is, and holds what the token's hash is of."""
    path = tmp_path / "data" / "admin_token"
    token = admin_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.read_text().strip()
    assert token.secret_sha256 == hash_token(secret)
    assert token.role == "operate"
    assert len(secret) >= 43
    assert admin_token(path) == token
    assert [each.name for each in path.parent.iterdir()] == ["admin_token"]


def test_an_admin_token_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """A file somebody wrote with a wide mode gets the narrow one."""
    path = tmp_path / "admin_token"
    path.write_text("a-token-somebody-wrote-himself\n")
    path.chmod(0o644)
    assert admin_token(path).secret_sha256 == hash_token("a-token-somebody-wrote-himself")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_admin_token_that_is_none_is_a_mistake_to_mend(tmp_path: Path) -> None:
    """An empty file would let everybody in who sends an empty token; a link or a folder is no file of ours."""
    path = tmp_path / "admin_token"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="delete the file"):
        admin_token(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="cannot be kept there"):
        admin_token(link)
    with pytest.raises(ConfigError, match="cannot be kept there"):
        admin_token(path / "admin_token")


def test_without_a_place_for_the_file_the_configured_tokens_do(tmp_path: Path) -> None:
    """A container with a store elsewhere may have no directory to write to. Whoever can operate there needs no file;
    a gateway nobody could operate does not start.

    Story: with redis:// and /config mounted read-only, as the Dockerfile says, the gateway refused to start."""
    path = tmp_path / "file" / "admin_token"
    path.parent.write_text("not a directory")
    read = Token(name="look", role="read", secret_sha256=b"r")
    operate = Token(name="ops", role="operate", secret_sha256=b"o")
    assert all_tokens([read, operate], path) == (read, operate)
    for configured in ([], [read]):
        with pytest.raises(ConfigError, match="cannot be kept there"):
            all_tokens(configured, path)
    path.parent.unlink()
    assert [token.name for token in all_tokens([read], path)] == ["look", "admin_token"]


def test_all_who_start_at_once_get_the_same_admin_token(tmp_path: Path) -> None:
    """Whoever loses the race reads the winner's token, never a half-written one."""
    path = tmp_path / "admin_token"
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: admin_token(path), range(32)))
    assert len({token.secret_sha256 for token in tokens}) == 1
