"""How a verb talks to the running gateway: where it is, with which token, and what its refusals mean."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import click
import httpx

from gateway.cli.common import Exit, Refusal, config_option, load_config
from gateway.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_TIMEOUT_S = 30.0
_PAGE = 1_000


class Api:
    """The gateway's HTTP API. Every method raises ``Refusal`` where it cannot answer."""

    def __init__(self, base_url: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._client = httpx.Client(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {token}"},
            timeout=_TIMEOUT_S,
            transport=transport,
            trust_env=False,  # a proxy of the environment has no business between us and our own gateway
            verify=self.base_url.startswith("https:"),  # loading every root certificate costs 50 ms that http needs not
        )

    def get(self, path: str, **parameters: object) -> Any:
        """The JSON of ``GET <path>``; parameters that are ``None`` are left out."""
        return self._answer("GET", path, params=_given(parameters))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of ``POST <path>``."""
        return self._answer("POST", path, json=dict(body))

    def delete(self, path: str, **parameters: object) -> Any:
        """The JSON of ``DELETE <path>``; parameters that are ``None`` are left out."""
        return self._answer("DELETE", path, params=_given(parameters))

    def items(self, path: str, limit: int, **parameters: object) -> Iterator[Any]:
        """Up to ``limit`` items of a list, page after page."""
        after = parameters.pop("after", None)
        while limit > 0:
            page = self.get(path, **parameters, after=after, limit=min(limit, _PAGE))
            yield from page["items"][:limit]
            limit -= len(page["items"])
            after = page["next"]
            if after is None:
                return

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    @contextlib.contextmanager
    def stream(self, path: str, headers: Mapping[str, str], **parameters: object) -> Iterator[httpx.Response]:
        """An answer that does not end, for server-sent events."""
        try:
            with self._client.stream(
                "GET",
                path,
                params=_given(parameters),
                headers={**headers, "accept": "text/event-stream"},
                timeout=httpx.Timeout(_TIMEOUT_S, read=None),
            ) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise self._refusal(answer)
                yield answer
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _answer(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if not answer.is_success:
            raise self._refusal(answer)
        try:
            return answer.json()
        except ValueError:
            raise self._stranger() from None

    def _stranger(self) -> Refusal:
        return Refusal(f"{self.base_url} does not answer like a gateway\nname another with --url", Exit.UNREACHABLE)

    def _unreachable(self, error: httpx.HTTPError) -> Refusal:
        why = "no answer in time" if isinstance(error, httpx.TimeoutException) else (str(error) or type(error).__name__)
        return Refusal(
            f"cannot reach the gateway at {self.base_url}: {why}\n"
            "start it with gateway serve, or name another with --url",
            Exit.UNREACHABLE,
        )

    def _refusal(self, answer: httpx.Response) -> Refusal:
        try:
            problem = answer.json()
            # Of 503 the title is for those who send webhooks.
            words = (
                problem["detail"]
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
                else f"{problem['title']}: {problem['detail']}"
            )
            if mistakes := problem.get("mistakes"):
                lines = [f"  {each['at']}: {each['why']}" if each["at"] else f"  {each['why']}" for each in mistakes]
                words = "\n".join([f"{problem['title']}:", *lines])
        except (ValueError, KeyError, TypeError):
            return self._stranger()
        if answer.status_code in {401, 403}:
            return Refusal(f"{words}\nname another token with --token or GATEWAY_TOKEN", Exit.CONFIG)
        if answer.status_code in {404, 409}:
            return Refusal(words, Exit.FINDINGS)
        code = Exit.USAGE if answer.is_client_error else Exit.UNREACHABLE
        return Refusal(words, code, store_away=problem.get("store_away"))


@contextlib.contextmanager
def networks_by_option() -> Iterator[None]:
    """Whoever is told of ``allow_networks``, as the file has it, is told of the option too."""
    try:
        yield
    except Refusal as refusal:
        if "allow_networks" not in str(refusal):
            raise
        named = re.search(r"allow_networks = \[([^]]*)\]", str(refusal))
        networks = re.findall('"([^"]+)"', named[1]) if named else ["10.2.0.0/16"]
        options = " ".join(f"--allow-network {network}" for network in networks)
        raise Refusal(f"{refusal}\nhere allow_networks is {options}", refusal.code) from None


def path_of(kind: Literal["subscriber", "event", "replay"], given: str) -> str:
    """The path of one thing by its name or id. Raises ``Refusal`` for what would lead to another path."""
    folder, listed_by = _PLACES[kind]
    if not given.strip("./") or "/" in given:
        raise Refusal(f"{given!r} is no {kind}\n{listed_by} names them", Exit.USAGE)
    return f"/api/{folder}/{quote(given, safe='')}"


_PLACES = {
    "subscriber": ("subscribers", "gateway subscribers list"),
    "event": ("events", "gateway events"),
    "replay": ("replays", "gateway replay list"),
}
"""What is named → where the API has it, and the command that lists them."""


def api_options(verb: F) -> F:
    """``--config``, ``--url`` and ``--token``, given to the verb as ``config_path``, ``url`` and ``token``."""
    url = click.option("--url", envvar="GATEWAY_URL", help="Where the gateway is; else the configuration's listen.")
    token = click.option(
        "--token", envvar="GATEWAY_TOKEN", help="Its API token, better in GATEWAY_TOKEN; else <data>/admin_token."
    )
    return config_option(url(token(verb)))


def connect(config_path: Path, url: str | None, token: str | None) -> Api:
    """The API of the gateway that the options or the configuration lead to; closed when the verb ends."""
    api = Api(*_address(config_path, url, token))
    click.get_current_context().call_on_close(api.close)
    return api


def _address(config_path: Path, url: str | None, token: str | None) -> tuple[str, str]:
    if url is not None and not url.startswith(("http://", "https://")):
        raise Refusal(f"--url {url} lacks its beginning: write http:// or https:// before it", Exit.USAGE)
    if url is not None and token:
        return url, token
    try:
        config = load_config(config_path)
    except ConfigError as error:
        raise ConfigError([*error.problems, "or name a running gateway with --url and --token"]) from None
    if url is None:
        if config.gateway.port == 0:
            raise Refusal("listen has port 0, any free one: name the gateway with --url", Exit.USAGE)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.gateway.host, config.gateway.host)  # noqa: S104  # where it listens, not where we do
        url = f"http://[{host}]:{config.gateway.port}" if ":" in host else f"http://{host}:{config.gateway.port}"
    if not token:  # an empty GATEWAY_TOKEN is none
        token = _written_token(config.data_dir / "admin_token")
    return url, token


def _written_token(path: Path) -> str:
    """The token that the gateway writes for whoever may read its data directory."""
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        raise Refusal(
            "the gateway has not been started here yet: start it with gateway serve\n"
            f"it then writes a token to {path}; for one that runs elsewhere use --url, and --token or GATEWAY_TOKEN",
            Exit.UNREACHABLE,
        ) from None
    except OSError as error:
        raise Refusal(
            f"no token: {path} cannot be read ({error.strerror})\n"
            "ask as the user the gateway runs as, or name a token with --token or GATEWAY_TOKEN",
            Exit.UNREACHABLE,
        ) from None


def _given(parameters: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
