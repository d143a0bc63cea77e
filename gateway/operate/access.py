"""Who may look and who may act: tokens, login links, sessions. Knows no HTTP; ``gate.py`` does.

A *token* is for programs: it comes with every request. A *session* is for browsers: a login link, good once and for
15 minutes, opens it, and from then on a cookie stands for it. So no token is ever in a URL that lasts. Roles: ``read``
may look, ``operate`` may also change things and see bodies as they came.

Only hashes are kept: of tokens here, of login links and of sessions in the store, where every process finds them and
each link is used up once for all. Whoever reads either by accident (a log line, a backup) finds nothing to use. While
the store is away, a session that was seen here before is still known.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from gateway.config import Token, hash_token
from gateway.errors import ConfigError, StoreUnavailable
from gateway.store.visits import MOST, Visit, VisitBook

log = structlog.get_logger("gateway.operate")

Role = Literal["read", "operate"]

LOGIN_TTL_S = 15 * 60.0
SESSION_TTL_S = 12 * 3_600.0
SKEW_S = 60.0
"""By how much the clocks of two machines may differ. What ends later than it ever could is from before a clock jumped
back, and counts as ended."""

SECRET_BYTES = 32
SHORTEST_TOKEN = 16
"""Characters. An empty file must not let in whoever sends an empty token."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One browser that logged in."""

    name: str
    role: Role
    csrf_token: str
    """What every form and script of our pages sends along, and no other site can know. It is derived from the secret
    in the cookie, so it is kept nowhere."""
    ends_ms: int


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    name: str
    role: Role
    token: Token | None = None
    """The one that was sent."""
    session: Session | None = None
    """``None`` for a token."""


class Access:
    """All tokens, login links and sessions, as one process sees them.

    What asks the store raises ``StoreUnavailable``.
    """

    def __init__(
        self,
        tokens: Sequence[Token],
        book: VisitBook,
        *,
        wall_ms: Callable[[], int],
        secure_cookie: bool,
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(SECRET_BYTES),
    ) -> None:
        """``secure_cookie``: the pages are served over https, so the cookie must not travel otherwise."""
        self._tokens = tuple(tokens)
        self._book = book
        self._wall_ms = wall_ms
        self._new_secret = new_secret
        self._seen: dict[bytes, Visit] = {}
        self.secure_cookie = secure_cookie

    def replace(self, tokens: Sequence[Token]) -> None:
        """From now on these tokens count. Sessions that a token opened end, unless it is still there as it was."""
        self._tokens = tuple(tokens)

    def by_token(self, secret: str) -> Identity | None:
        """Whose token this is. Every token is compared in full, so the time says nothing about how near it came."""
        given = hash_token(secret)
        found: Identity | None = None
        for token in self._tokens:
            if hmac.compare_digest(given, token.secret_sha256):
                found = Identity(name=token.name, role=token.role, token=token)
        return found

    async def new_login(self, base_url: str) -> str:
        """A link that opens one session of role operate, once, within 15 minutes."""
        nonce, now_ms = self._new_secret(), self._wall_ms()
        visit = Visit(ends_ms=now_ms + round(LOGIN_TTL_S * 1000))
        await self._book.keep("login", hash_token(nonce), visit, now_ms)
        return f"{base_url.rstrip('/')}/login/{nonce}"

    async def is_login(self, nonce: str) -> bool:
        """Whether the link is still good. Asking does not use it up: previews of links ask."""
        return self._lasts(await self._book.find("login", hash_token(nonce)), LOGIN_TTL_S)

    async def use_login(self, nonce: str) -> str | None:
        """Use a login link up. Returns the session's secret for the cookie, or ``None`` if the link is not good."""
        if not await self.is_login(nonce) or not await self._book.remove("login", hash_token(nonce)):
            return None
        return await self.open_session(Identity(name="login link", role="operate"))

    async def open_session(self, identity: Identity) -> str:
        """A session with the name and role of ``identity``, for as long as its token is there. Returns its secret for
        the cookie.
        """
        secret, now_ms = self._new_secret(), self._wall_ms()
        visit = Visit(
            ends_ms=now_ms + round(SESSION_TTL_S * 1000),
            name=identity.name,
            role=identity.role,
            proof=_proof(secret, identity.token) if identity.token else "",
        )
        await self._book.keep("session", hash_token(secret), visit, now_ms)
        return secret

    async def by_session(self, secret: str) -> Identity | None:
        """Whose session this is; ``None`` if there is none, it has ended, or its token is no longer there."""
        key = hash_token(secret)
        visit = await self._find(key)
        if visit is None or not self._lasts(visit, SESSION_TTL_S):
            return None
        if visit.proof and not any(hmac.compare_digest(visit.proof, _proof(secret, each)) for each in self._tokens):
            return None
        session = Session(
            name=visit.name,
            role=visit.role,
            csrf_token=hmac.digest(secret.encode("utf-8", "surrogateescape"), b"csrf", "sha256").hex(),
            ends_ms=visit.ends_ms,
        )
        return Identity(name=visit.name, role=visit.role, session=session)

    async def close_session(self, secret: str) -> None:
        """Log out, everywhere."""
        self._seen.pop(hash_token(secret), None)
        await self._book.remove("session", hash_token(secret))

    async def _find(self, key: bytes) -> Visit | None:
        known = self._seen.pop(key, None)
        try:
            found = await self._book.find("session", key)
        except StoreUnavailable:
            if known is None:
                raise
            found = known
        if found is not None:
            while len(self._seen) >= MOST["session"]:
                del self._seen[next(iter(self._seen))]  # the one that was seen longest ago
            self._seen[key] = found
        return found

    def _lasts(self, visit: Visit | None, ttl_s: float) -> bool:
        return visit is not None and 0 < visit.ends_ms - self._wall_ms() <= (ttl_s + SKEW_S) * 1000


def _proof(secret: str, token: Token) -> str:
    """What ties a session to its token, and tells nothing about it to who does not have the session's secret."""
    told = msgspec.json.encode([token.name, token.role, token.secret_sha256])
    return hmac.digest(secret.encode("utf-8", "surrogateescape"), told, "sha256").hex()


def may(identity: Identity, role: Role) -> bool:
    """Whether somebody may do what ``role`` is needed for."""
    return identity.role == "operate" or role == "read"


def is_csrf_token(identity: Identity, given: str) -> bool:
    """Whether a change asked for by a browser comes from one of our own pages."""
    wanted = identity.session.csrf_token if identity.session else ""
    return wanted != "" and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def all_tokens(configured: Sequence[Token], path: Path) -> tuple[Token, ...]:
    """The tokens of the configuration, and the one in the file ``path`` (``admin_token``).

    Raises ``ConfigError`` where that file cannot be had, unless the configuration has a token that may operate: with a
    store elsewhere there may be no directory that can be written to, as in a container.
    """
    try:
        return (*configured, admin_token(path))
    except ConfigError as error:
        if not any(token.role == "operate" for token in configured):
            raise
        log.warning("operate.no_admin_token", why=str(error), instead="the tokens of the configuration")
        return tuple(configured)


def admin_token(path: Path) -> Token:
    """The token in the file ``path``, written with a random one if there is no file.

    The file is for its owner alone (mode 0600) and appears whole: who loses a race reads the winner's. Raises
    ``ConfigError`` where it can be neither read nor written, or holds no usable token.
    """
    try:
        secret = _read_or_write(path)
    except OSError as error:
        raise ConfigError([f"{path}: the token for administrators cannot be kept there: {error.strerror}"]) from None
    if len(secret) < SHORTEST_TOKEN:
        raise ConfigError([f"{path}: holds no token; delete the file, and a new one is written"])
    return Token(name="admin_token", role="operate", secret_sha256=hash_token(secret))


def _read_or_write(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _write_new(path, secrets.token_urlsafe(SECRET_BYTES))
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            os.fchmod(file.fileno(), 0o600)
        return file.read().strip()


def _write_new(path: Path, secret: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was faster: its token counts
    finally:
        draft.unlink()
