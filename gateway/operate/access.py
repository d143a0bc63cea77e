"""Who may look and who may act: tokens, login links, sessions. Knows no HTTP; ``gate.py`` does.

A *token* is for programs: it comes with every request. A *session* is for browsers: a login link, good once and for
15 minutes, opens it, and from then on a cookie stands for it. So no token is ever in a URL that lasts. Roles: ``read``
may look, ``operate`` may also change things and see bodies as they came.

Only hashes are kept: of tokens, of login links and of sessions. Whoever reads this process's memory by accident (a log
line, a traceback) finds nothing to use.
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
from gateway.errors import ConfigError

log = structlog.get_logger("gateway.operate")

Role = Literal["read", "operate"]

LOGIN_TTL_S = 15 * 60.0
SESSION_TTL_S = 12 * 3_600.0
MAX_SESSIONS = 256
"""More browsers than anybody has; beyond it the session that ends first makes room."""

MAX_LOGINS = 64

SECRET_BYTES = 32
SHORTEST_TOKEN = 16
"""Characters. An empty file must not let in whoever sends an empty token."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One browser that logged in."""

    name: str
    role: Role
    csrf_token: str
    """What every form and script of our pages sends along, and no other site can know."""
    ends_s: float


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    name: str
    role: Role
    session: Session | None = None
    """``None`` for a token."""


class Access:
    """All tokens, login links and sessions of one process."""

    def __init__(
        self,
        tokens: Sequence[Token],
        *,
        monotonic: Callable[[], float],
        secure_cookie: bool,
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(SECRET_BYTES),
    ) -> None:
        """``secure_cookie``: the pages are served over https, so the cookie must not travel otherwise."""
        self._tokens = tuple(tokens)
        self._monotonic = monotonic
        self._new_secret = new_secret
        self._logins: dict[bytes, float] = {}
        self._sessions: dict[bytes, Session] = {}
        self.secure_cookie = secure_cookie

    def replace(self, tokens: Sequence[Token]) -> None:
        """From now on these tokens count. Sessions that a token opened end, unless it is still there as it was."""
        ended = {token.name for token in self._tokens if token not in tokens}
        self._tokens = tuple(tokens)
        self._sessions = {key: session for key, session in self._sessions.items() if session.name not in ended}

    def by_token(self, secret: str) -> Identity | None:
        """Whose token this is. Every token is compared in full, so the time says nothing about how near it came."""
        given = hash_token(secret)
        found: Identity | None = None
        for token in self._tokens:
            if hmac.compare_digest(given, token.secret_sha256):
                found = Identity(name=token.name, role=token.role)
        return found

    def new_login(self, base_url: str) -> str:
        """A link that opens one session of role operate, once, within 15 minutes."""
        self._forget_old()
        while len(self._logins) >= MAX_LOGINS:
            del self._logins[next(iter(self._logins))]
        nonce = self._new_secret()
        self._logins[hash_token(nonce)] = self._monotonic() + LOGIN_TTL_S
        return f"{base_url.rstrip('/')}/login/{nonce}"

    def is_login(self, nonce: str) -> bool:
        """Whether the link is still good. Asking does not use it up: previews of links ask."""
        self._forget_old()
        return hash_token(nonce) in self._logins

    def use_login(self, nonce: str) -> str | None:
        """Use a login link up. Returns the session's secret for the cookie, or ``None`` if the link is not good."""
        self._forget_old()
        if self._logins.pop(hash_token(nonce), None) is None:
            return None
        return self.open_session(Identity(name="login link", role="operate"))

    def open_session(self, identity: Identity) -> str:
        """A session with the name and role of ``identity``. Returns its secret for the cookie."""
        self._forget_old()
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].ends_s)]
        secret = self._new_secret()
        self._sessions[hash_token(secret)] = Session(
            name=identity.name,
            role=identity.role,
            csrf_token=self._new_secret(),
            ends_s=self._monotonic() + SESSION_TTL_S,
        )
        return secret

    def by_session(self, secret: str) -> Identity | None:
        """Whose session this is; ``None`` if there is none or it has ended."""
        session = self._sessions.get(hash_token(secret))
        if session is None or session.ends_s <= self._monotonic():
            return None
        return Identity(name=session.name, role=session.role, session=session)

    def close_session(self, secret: str) -> None:
        """Log out."""
        self._sessions.pop(hash_token(secret), None)

    def _forget_old(self) -> None:
        now_s = self._monotonic()
        self._logins = {key: ends_s for key, ends_s in self._logins.items() if ends_s > now_s}
        self._sessions = {key: session for key, session in self._sessions.items() if session.ends_s > now_s}


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
