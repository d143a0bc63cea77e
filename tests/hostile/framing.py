"""HTTP/1.1 that is ambiguous or broken. Each takes a whole request (``hidden``) and hides it in another.

Read in the one right way, or refused, the hidden request is never a request of its own. Who takes it has two readings
of one stream of bytes: with a proxy before it, that is a request the proxy never saw.
"""

from random import Random

_END = b"\r\n\r\n"
_LAST = b"0\r\n\r\n"

_LENGTHS = (
    *(b"+0", b"-0", b"0x0", b"0 0", b"0,0", b"0, 5", b"0;", b"0.0", b"0e0", b"", b"\x0b0", b"0\x0b", b"\xef\xbc\x90"),
    *(b"\xb2", b"18446744073709551616", b"-1", b"4294967296", b"99999999999999999999999999", b"zero", b"0\x00", b"NaN"),
)
_ENCODINGS = (
    *(b"chunked", b"Chunked", b"xchunked", b"chunked, identity", b"identity", b"identity, chunked", b"chunked;q=1"),
    *(b"\x0bchunked", b"chunked\x0b", b"chunked\x00", b'"chunked"', b"gzip, chunked", b"chunked, chunked", b"x", b""),
    *(b"chunked,", b",chunked", b"CHUNKED", b"chun\tked", b"\xefchunked"),
)
_ENCODING_NAMES = (
    *(b"Transfer-Encoding", b"transfer-encoding", b"Transfer-Encoding ", b"Transfer_Encoding", b" Transfer-Encoding"),
    *(b"Transfer-Encoding\t", b"Transfer\x00-Encoding", b"X: y\nTransfer-Encoding", b"X: y\rTransfer-Encoding"),
    *(b"Transfer-Encoding\x0b", b"Transfer-Enc\xc3\xb6ding"),
)
_SIZES = (
    *(b"0x0", b"+0", b"-0", b"0 ", b" 0", b"0;a=b\n", b"0\n", b"0;\r", b"g", b"", b"0\x00", b"-1", b"0_0", b"\xb2"),
    *(b"FFFFFFFFFFFFFFFFF", b"10000000000000000", b"0;" + b"x" * 700_000, b'0;a="\r\n"'),
)
"""Zeros alone are no oddity: they end a body, and what follows is a request in its own right. So do zeros with an
extension that is not too long; this one is longer than the bound for framing and what one read may bring beyond it."""


def _head(path: bytes, *lines: bytes, method: bytes = b"POST") -> bytes:
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"Host: test", *lines)) + _END


def smuggle(path: bytes, hidden: bytes, chance: Random) -> tuple[str, bytes]:
    """A request in which another one is hidden, and what is wrong with it."""
    full = b"Content-Length: %d" % len(_LAST + hidden)
    size = b"Content-Length: %d" % len(hidden)
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    encoding, name = chance.choice(_ENCODINGS), chance.choice(_ENCODING_NAMES)
    odd, bad = chance.choice(_LENGTHS), chance.choice(_SIZES)
    method = chance.choice((b"GET", b"HEAD", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW"))
    offer = chance.choice((b"h2c", b"websocket", b"TLS/1.0", b"x"))
    chunked, upgrade = b"Transfer-Encoding: chunked", b"Connection: Upgrade\r\nUpgrade: " + offer
    version = chance.choice((b"HTTP/1.2", b"HTTP/2.0", b"HTTP/9", b"http/1.1", b"HTTP/1.1x"))
    in_target = hidden.replace(b"\r\n", b"%0d%0a").replace(b" ", b"%20")[:2_000]
    as_trailer = b"0\r\nX: y\r\n" + hidden.replace(_END, b"\r\n", 1)
    spaced = b"POST " + path + b" HTTP/1.1 HTTP/1.1\r\nHost: test\r\n" + size + _END
    ways: tuple[tuple[str, bytes], ...] = (
        ("length and chunks", _head(path, full, b"Transfer-Encoding: " + encoding) + _LAST + hidden),
        ("chunks and length", _head(path, b"Transfer-Encoding: chunked", b"Content-Length: 0") + chunk),
        ("chunks and length of nothing", _head(path, b"Transfer-Encoding: " + encoding, full) + _LAST + hidden),
        ("chunks by another name", _head(path, full, name + b": chunked") + _LAST + hidden),
        ("two lengths", _head(path, b"Content-Length: 0", size) + hidden),
        ("two lengths, the other way round", _head(path, size, b"Content-Length: 0") + hidden),
        ("the same length twice", _head(path, size, size) + hidden),
        ("an odd length", _head(path, b"Content-Length: " + odd) + hidden),
        ("length by another name", _head(path, b"Content-Length : 0", size) + hidden),
        ("a folded length", _head(path, b"X: y\r\n Content-Length: 0", size) + hidden),
        ("two encodings", _head(path, b"Transfer-Encoding: " + encoding, b"Transfer-Encoding: chunked") + chunk),
        ("an odd chunk size", _head(path, chunked) + bad + b"\r\n\r\n" + hidden),
        ("a chunk longer than it says", _head(path, chunked) + b"1\r\nxy\r\n" + _LAST + hidden),
        ("a chunk shorter than it says", _head(path, chunked) + b"5\r\nx\r\n" + _LAST + hidden),
        ("a chunk without its end", _head(path, chunked) + b"1\nx\n0\n\n" + hidden),
        ("chunks that end in bare LF", _head(path, chunked) + b"0\n\n" + hidden),
        ("a hidden trailer", _head(path, chunked) + as_trailer),
        ("in a chunk", _head(path, chunked) + chunk),
        ("in the body", _head(path, size) + hidden),
        ("in the body of " + method.decode(), _head(path, size, method=method) + hidden),
        ("in the body of " + method.decode() + ", in chunks", _head(path, chunked, method=method) + chunk),
        ("in a body nobody wants", _head(b"/in/nobody", size) + hidden),
        ("in a compressed body", _head(path, size, b"Content-Encoding: gzip") + hidden),
        ("in the body of an upgrade", _head(path, upgrade, size) + hidden),
        ("in the chunks of an upgrade", _head(path, upgrade, chunked) + chunk),
        ("in a body that is waited for", _head(path, size, b"Expect: 100-continue") + hidden),
        ("behind bare LF", b"POST " + path + b" HTTP/1.1\nHost: test\nContent-Length: 0\n\n" + hidden),
        ("behind one bare LF", _head(path, b"X: y\nContent-Length: 0", size) + hidden),
        ("behind bare CR", b"POST " + path + b" HTTP/1.1\rHost: test\rContent-Length: 0\r\r" + hidden),
        ("behind a NUL", _head(path, b"X: \x00\r\nContent-Length: 0\r\n\r\n"[:4], size) + hidden),
        ("behind HTTP/1.0 with chunks", _head(path, chunked).replace(b"1.1", b"1.0") + chunk),
        ("in a header", _head(path, b"X: " + hidden.partition(_END)[0].replace(b"\r\n", b" "))),
        ("in the target", _head(path + b"?" + in_target, b"Content-Length: 0")),
        ("behind a target with a space", spaced + hidden),
        ("behind another version", _head(path, size).replace(b"HTTP/1.1", version) + hidden),
    )  # fmt: skip
    return chance.choice(ways)


def mutate(wire: bytes, chance: Random) -> bytes:
    """Some bytes of a request another way."""
    data = bytearray(wire)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        way = chance.randrange(7)
        if way == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif way == 1 and at < len(data):
            data[at] = chance.choice(b"\x00\r\n \t:;,\x0b\x7f\x80\xff/?#%")
        elif way == 2:
            del data[at : at + chance.randrange(1, 20)]
        elif way == 3:
            data[at:at] = data[at : at + chance.randrange(1, 60)]
        elif way == 4:
            data[at:at] = chance.choice(
                (b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"\r\n\r\n", b"\xef\xbb\xbf")
            )
        elif way == 5:
            data[at:at] = chance.randbytes(chance.randrange(1, 30))
        else:
            del data[at:]
        if not data:
            return b"\r\n"
    return bytes(data)


def odd_head(path: bytes, chance: Random) -> tuple[str, bytes]:
    """A head that is large, strange or unfinished; without a body."""
    targets = (
        *(b"*", b"http://evil.example" + path, path + b"/../br", b"/" + path, b"/in/%62r", b"/in/br%00", b"/in\\br"),
        *(
            path + b"#x",
            path + b"?" + b"a" * 9_000,
            path + b"/" + b"t" * 9_000,
            b"/in/" + b"../" * 300,
            b"/in",
            b"/in/",
        ),
        *(
            b"/in/br/x/y",
            b"/inx",
            b"/\xff\xfe",
            b"/in/\xc3\xa9",
            b"/api/ledger",
            b"/metrics",
            b"/",
            b"/login",
            b"/in/br;x",
        ),
        *(b"/api/events?limit=-1", b"/api/events?after=%00", b"/api/events/" + b"x" * 3_000, b"/schema/openapi.json"),
    )
    headers = (b"no colon", b": no name", b"a b: c", b"a\x00: c", b"\xff: \xff", b"a: b\x00c", b" a: b")
    methods = (b"P\x00ST", b"post", b"", b"A" * 5_000, b"\xff", b"PRI", b"GET GET")
    others = (
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /in/br\r\n"),
        *(b"*1\r\n$4\r\nPING\r\n", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"),
    )
    lies = (b"X-Forwarded-For: 127.0.0.1, [::1]:x, \xff", b'Forwarded: for="_x";by=,,', b"X-Real-IP: ..")
    wishes = (b"Expect: 200-ok", b"Range: bytes=0-,-1", b"TE: trailers, x;q=9")
    odd = chance.choice(targets)
    ways: tuple[tuple[str, bytes], ...] = (
        ("an odd target", _head(odd, b"Content-Length: 0", method=chance.choice((b"POST", b"GET", b"DELETE")))),
        ("many headers", _head(path, *[b"X-%d: y" % each for each in range(chance.choice((150, 3_000)))])),
        ("a long header", _head(path, b"X: " + b"y" * chance.choice((9_000, 70_000, 300_000)))),
        ("a long header name", _head(path, b"x" * 70_000 + b": y")),
        ("an endless header", b"POST " + path + b" HTTP/1.1\r\nX: " + b"y" * 70_000),
        ("many cookies", _head(path, *[b"Cookie: a%d=b" % each for each in range(200)])),
        ("no host", b"POST " + path + b" HTTP/1.1\r\nContent-Length: 0" + _END),
        ("two hosts", _head(path, b"Host: other", b"Content-Length: 0")),
        ("an odd host", _head(path, b"Host: a b\x00/@:99999", b"Content-Length: 0")),
        ("an odd header", _head(path, chance.choice(headers))),
        ("an odd method", _head(path, method=chance.choice(methods))),
        ("another protocol", chance.choice(others)),
        ("nothing but lines", b"\r\n" * chance.choice((1, 100, 40_000))),
        ("an announced giant", _head(path, b"Content-Length: 9999999999")),
        ("an announced body that does not come", _head(path, b"Content-Length: 10") + b"x"),
        ("lies about the sender", _head(path, *lies, b"Content-Length: 0")),
        ("a range of expectations", _head(path, *wishes, b"Content-Length: 0")),
        ("a thousand chunks", _head(path, b"Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 1_000 + _LAST),
        ("sixty requests ahead", _head(path, b"Content-Length: 0") * 60),
    )  # fmt: skip
    return chance.choice(ways)
