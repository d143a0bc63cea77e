"""Who gets in: forged requests by the thousand, genuine ones among them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from urllib.parse import urlsplit

import msgspec

from adapters.contract import NotProven, Request
from gateway.intake.pipeline import Rejected, receive
from tests.forgeries.forging import WAYS
from tests.forgeries.genuine import Genuine, fresh, recorded, rsa_keys

NOW_MS = 1_770_120_005_412
"""2026-02-03T12:00:05.412Z"""
GENUINE_EVERY = 100
EXAMPLES = 5


class Verdict(msgspec.Struct):
    """What was tried and who got in."""

    forged: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(provider, way) → requests."""
    accepted: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    genuine: int = 0
    genuine_refused: int = 0
    failed: int = 0
    """Ended in anything but an outcome."""
    examples: list[str] = msgspec.field(default_factory=list)

    @property
    def wrong(self) -> bool:
        """Whether a forged one got in, a genuine one did not, or nothing was tried."""
        return bool(self.accepted.total() or self.genuine_refused or self.failed or not self.forged or not self.genuine)

    def note(self, provider: str, way: str, what: str) -> None:
        """Keep an example; of samples and made-up secrets only, so it may be shown."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{provider}, {way}: {what}")


def keys_of(genuine: Genuine, request: Request) -> Mapping[str, bytes]:
    """What the gateway would fetch for this request: the genuine key, the forger's from any host of his, or none.

    Where a URL leads is judged by the standard library, not by the adapter. Raises ``NotProven`` like ``key_wanted``.
    """
    url = genuine.adapter.key_wanted(request, genuine.source)
    if url is None:
        return {}
    if url in genuine.keys:
        return genuine.keys
    place, right = urlsplit(url), {urlsplit(known).netloc for known in genuine.keys}
    if place.scheme == "https" and place.netloc in right:
        return {}  # nobody but the provider can put a key there
    return {url: rsa_keys("another").public}


def gets_in(genuine: Genuine, request: Request) -> bool:
    """Whether the pipeline takes the request for proven."""
    try:
        keys = keys_of(genuine, request)
    except NotProven:
        return False
    return not isinstance(receive(request, genuine.source, genuine.adapter, keys, genuine.now_ms), Rejected)


def pool(now_ms: int = NOW_MS) -> list[Genuine]:
    """All genuine requests there are."""
    return [*fresh(now_ms), *recorded()]


def forge(genuine: Genuine, way: str, chance: Random) -> Request | None:
    """A forged request; ``None`` where this way does not apply, or nothing was changed."""
    request = WAYS[way](genuine, chance)
    return None if request == genuine.request else request


def judge(count: int, seed: int, genuine: Sequence[Genuine] | None = None) -> Verdict:
    """Try ``count`` forged requests. The seed decides all of it but the keys."""
    chance = Random(seed)
    known = list(genuine) if genuine is not None else pool()
    verdict = Verdict()
    for each in known:
        _control(each, verdict)
    # Each provider as often as any other, however many samples it has.
    by_provider: dict[str, list[Genuine]] = {}
    for each in known:
        by_provider.setdefault(each.provider, []).append(each)
    providers = sorted(by_provider)
    done = tried = 0
    while done < count:
        each = chance.choice(by_provider[providers[tried % len(providers)]])
        tried += 1
        way = chance.choice(list(WAYS))
        request = forge(each, way, chance)
        if request is None:
            continue
        done += 1
        verdict.forged[each.provider, way] += 1
        try:
            if gets_in(each, request):
                verdict.accepted[each.provider, way] += 1
                verdict.note(each.provider, way, f"{request.headers!r:.400} {request.body!r:.200}")
        except Exception as error:  # what the pipeline must never do
            verdict.failed += 1
            verdict.note(each.provider, way, f"raises {type(error).__name__}: {error}")
        if done % GENUINE_EVERY == 0:
            _control(each, verdict)
    return verdict


def _control(genuine: Genuine, verdict: Verdict) -> None:
    verdict.genuine += 1
    if not gets_in(genuine, genuine.request):
        verdict.genuine_refused += 1
        verdict.note(genuine.provider, "genuine", "refused")
