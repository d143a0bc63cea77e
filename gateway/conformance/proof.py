"""Clauses about ``verify``: who gets in, and that nothing else happens to those who do not."""

from collections.abc import Iterator

import msgspec
from hypothesis import strategies as st

from adapters.contract import NotProven, Proof, Request, Source
from gateway.conformance.cases import Case
from gateway.conformance.fuzz import fuzz
from gateway.conformance.subject import Findings, Subject, clause

OTHER = b"another-secret-that-nobody-has"
"""What no case has as its secret or its path token."""
_FLIPS = 16


def with_header(request: Request, name: bytes, *values: bytes) -> Request:
    """The request with this header as often as there are values."""
    kept = tuple(header for header in request.headers if header[0] != name)
    return msgspec.structs.replace(request, headers=(*kept, *((name, value) for value in values)))


def changed_bodies(case: Case) -> Iterator[tuple[str, bytes]]:
    """The body with single bits flipped, cut, and extended."""
    body = case.request.body
    for at in range(0, len(body), max(1, len(body) // _FLIPS)):
        yield f"with bit {at % 8} of byte {at} flipped", body[:at] + bytes([body[at] ^ 1 << at % 8]) + body[at + 1 :]
    yield "without its last byte", body[:-1]
    yield "empty", b""
    yield "with a newline added", body + b"\n"


def bad_proofs(case: Case) -> Iterator[tuple[str, Request]]:
    """The request with its proof missing, cut, empty, outside ASCII, doubled."""
    request = case.request
    if (name := case.proof_header) is not None:
        value = request.header(name) or b""
        yield f"without the header {name.decode()}", with_header(request, name)
        for words, changed in (
            ("empty", b""),
            ("cut by one character", value[:-1]),
            ("cut to its first character", value[:1]),
            ("cut to half", value[: len(value) // 2]),
            ("twice as long", value + value),
            ("with a character outside ASCII", value[:-1] + b"\xe9"),
            ("of characters outside ASCII", b"\xff" * len(value)),
            ("with a NUL at its end", value + b"\x00"),
            ("beginning with a space", b" " + value),
            ("with its last character changed", value[:-1] + (b"0" if value[-1:] != b"0" else b"1")),
        ):
            yield f"with the header {name.decode()} {words}", with_header(request, name, changed)
        yield f"with the header {name.decode()} doubled", with_header(request, name, value, value)
    if case.source.path_token_sha256 is not None:
        token = request.path_token or b""
        for words, other in (("no", None), ("an empty", b""), ("a cut", token[:-1]), ("another", OTHER)):
            yield f"with {words} path token", msgspec.structs.replace(request, path_token=other)
        yield "with a path token outside ASCII", msgspec.structs.replace(request, path_token=b"\xff" * len(token))
    if case.source.allow_ips:
        for address in (None, "192.0.2.1", "2001:db8::1", "not an address"):
            yield f"from the address {address}", msgspec.structs.replace(request, client_ip=address)


def is_over_body(case: Case) -> bool:
    """Whether the proof covers the body."""
    return not case.source.unauthenticated and not case.proof.get("not_over_body")


@clause(
    "Every recorded request is proven.",
    mend="compare what verify computes with the case's command in about.toml, byte by byte",
)
def genuine_is_proven(subject: Subject) -> Findings:
    """The positive control of everything below."""
    for case in subject.cases:
        try:
            proof = subject.adapter.verify(case.request, case.source, case.keys, case.now_ms)
        except NotProven as error:
            yield f"case {case.name}: {error.reason}"
        else:
            if not isinstance(proof, Proof) or not proof.method:
                yield f"case {case.name}: verify returns {proof!r} instead of a Proof that says how"


@clause(
    "A body that is changed in one bit, cut or extended is refused.",
    mend="compute the proof over all of request.body, before anything has parsed or trimmed it",
)
def changed_body_is_refused(subject: Subject) -> Findings:
    """For proofs that cover the body."""
    for case in filter(is_over_body, subject.cases):
        for words, body in changed_bodies(case):
            if subject.is_proven(case, msgspec.structs.replace(case.request, body=body)):
                yield f"case {case.name}: proven with the body {words}"
                break


@clause(
    "A proof that is missing, empty, cut, outside ASCII or doubled is refused.",
    mend="read it with request.header, decode it strictly, compare all of it with secrets_equal",
)
def bad_proof_is_refused(subject: Subject) -> Findings:
    """Also path tokens and addresses."""
    for case in subject.cases:
        for words, request in bad_proofs(case):
            if subject.is_proven(case, request):
                yield f"case {case.name}: proven {words}"


@clause(
    "Every proof that a source configures must hold.",
    mend="check each configured proof in turn; raise NotProven at the first that fails",
)
def every_configured_proof_counts(subject: Subject) -> Findings:
    """Each one replaced by another's, in turn."""
    for case in subject.cases:
        source = case.source
        others: dict[str, Source] = {}
        if source.secrets:
            others["secrets"] = msgspec.structs.replace(source, secrets=(OTHER,))
        if source.path_token_sha256:
            others["path_token"] = msgspec.structs.replace(source, path_token_sha256=b"\x00" * 32)
        if source.accounts:
            others["accounts"] = msgspec.structs.replace(source, accounts=("another-account",))
        for setting, other in others.items():
            if subject.is_proven(case, source=other):
                yield f"case {case.name}: proven although {setting} is another's"
            elif subject.is_proven(case, source=msgspec.structs.replace(other, unauthenticated=True)):
                yield f"case {case.name}: unauthenticated = true outweighs a wrong {setting}"
        if case.keys and subject.is_proven(case, keys={}):
            yield f"case {case.name}: proven without the key that key_wanted asked for"


@clause(
    "Each of several secrets proves, whatever stands before or after it.",
    mend="try all of source.secrets; they are alternatives",
)
def every_secret_proves(subject: Subject) -> Findings:
    """First, last and in the middle."""
    for case in subject.cases:
        secrets = case.source.secrets
        if not secrets or not subject.is_proven(case):
            continue
        for words, several in (("first", (*secrets, OTHER)), ("last", (OTHER, *secrets))):
            if not subject.is_proven(case, source=msgspec.structs.replace(case.source, secrets=several)):
                yield f"case {case.name}: not proven when the right secret stands {words} of several"


@clause(
    "A source without any proof proves nothing, unless unauthenticated = true was typed.",
    mend="raise NotProven if nothing is configured, and let an empty secret prove nothing",
)
def no_proof_no_entry(subject: Subject) -> Findings:
    """Bare, with an empty secret, and opened on purpose."""
    for case in subject.cases:
        bare = Source(name=case.source.name, header=case.source.header, environment=case.source.environment)
        if subject.is_proven(case, source=bare):
            yield f"case {case.name}: proven at a source that has no proof configured"
        opened = msgspec.structs.replace(bare, unauthenticated=True)
        if not subject.is_proven(case, source=opened):
            yield f"case {case.name}: refused at a source with unauthenticated = true and nothing else"
        empty = msgspec.structs.replace(bare, secrets=(b"",))
        for request in (case.request, _signed(subject, case, empty)):
            if request is not None and subject.is_proven(case, request, source=empty):
                yield f"case {case.name}: proven by an empty secret"


def _signed(subject: Subject, case: Case, source: Source) -> Request | None:
    try:
        headers = subject.adapter.sign(case.request.body, source, case.now_ms)
    except Exception:
        return None
    return msgspec.structs.replace(
        case.request,
        headers=tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
    )


@clause(
    "verify and key_wanted raise NotProven and nothing else, for any request whatever.",
    mend="catch what your decoding raises and raise NotProven from it; compare bytes, never text",
)
def verify_raises_only_not_proven(subject: Subject) -> Findings:
    """First the bad proofs of every case, then what hypothesis thinks of."""
    for case in subject.cases:
        for words, request in (("as recorded", case.request), *bad_proofs(case)):
            if (fault := _fault(subject, case, request)) is not None:
                yield f"case {case.name}, {words}: {fault}"
    names = sorted({name for case in subject.cases for name, _ in case.request.headers} | {b"content-type"})
    values = sorted({value for case in subject.cases for _, value in case.request.headers})
    value = st.sampled_from(values) | st.binary(max_size=64) | st.text(max_size=32).map(str.encode)
    requests = st.builds(
        Request,
        headers=st.lists(st.tuples(st.sampled_from(names) | st.binary(max_size=8), value), max_size=6).map(tuple),
        body=st.sampled_from(sorted({case.request.body for case in subject.cases})) | st.binary(max_size=64),
        path_token=st.none() | st.binary(max_size=32),
        client_ip=st.none() | st.text(max_size=16) | st.ip_addresses().map(str),
    )

    def check(drawn: tuple[Case, Request]) -> str | None:
        case, request = drawn
        fault = _fault(subject, case, request)
        shown = f"headers {request.headers!r:.300}, path token {request.path_token!r}, body {request.body!r:.100}"
        return fault and f"the source of case {case.name}, {shown}: {fault}"

    yield from fuzz(st.tuples(st.sampled_from(subject.cases), requests), check, subject.examples)


def _fault(subject: Subject, case: Case, request: Request) -> str | None:
    try:
        url = subject.adapter.key_wanted(request, case.source)
    except NotProven:
        url = None
    except Exception as error:
        return f"key_wanted raises {subject.told(error)}"
    if url is not None and not (isinstance(url, str) and url.startswith("https://")):
        return f"key_wanted asks for {url!r}, which is no https URL"
    for keys in (case.keys, {} if url is None else {url: b"no key"}):
        try:
            subject.adapter.verify(request, case.source, keys, case.now_ms)
        except NotProven:
            pass
        except Exception as error:
            return f"verify raises {subject.told(error)}"
    return None
