"""JSON bodies: valid, invalid, and those about which parsers disagree. A set of our own.

Each is answered 200 where it is authentic (an event, ``ignored`` or ``quarantined``), and 200 or 400 at a source that
proves nothing. None may be a server's error.
"""

from random import Random

VALUES: tuple[bytes, ...] = (
    # valid, and unusual
    *(b"null", b"true", b"false", b"0", b"-0", b"1.5", b'""', b"[]", b"{}", b"[[]]", b'{"":""}', b'{"a":{}}'),
    *(b"-0.0", b"1e5", b"1E-5", b"1e+5", b"0e0", b"1.0e-999", b"123456789012345678901234567890", b"-1e-400"),
    *(b"9007199254740993", b"18446744073709551616", b"-9223372036854775809", b"1" * 400, b"0." + b"1" * 400),
    *(
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        b'"\\/\\b\\f\\n\\r\\t\\"\\\\"',
        b'"\x7f"',
        b'"\xf0\x9f\x98\x80"',
        b'"\xe2\x80\xa8"',
    ),
    *(
        b'"\xef\xbf\xbf"',
        b'"\xf4\x8f\xbf\xbf"',
        b'"\\uFFFE\\uffff"',
        b'"\\u005C\\u0022"',
        b" \t\r\n{} \n",
        b'"\xc2\x85"',
    ),
    # about which parsers disagree
    *(
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud800\\u0041"',
        b'"\\uD800\\uD800\\n"',
        b'"\\ud83d\\u"',
        b'{"\\ud800":1}',
    ),
    *(b"1e400", b"-1e9999", b"0.4e00669999999999999999999999999999", b"1" * 5_000, b"1." + b"0" * 5_000 + b"1"),
    *(
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"__proto__":{"x":1}}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\x00"}',
        b'"\xed\xa0\x80"',
    ),
    *("{}".encode("utf-16"), "{}".encode("utf-16-le"), "{}".encode("utf-32"), '"é"'.encode("latin-1"), b'"\xc0\xaf"'),
    *(
        b'"\xf8\x88\x80\x80\x80"',
        b'"\xf4\x90\x80\x80"',
        b'"\xff"',
        b'"\x81"',
        b'"\xe0\x80\x80"',
        b"[" * 500 + b"]" * 500,
    ),
    *(b'{"a":' * 200 + b"1" + b"}" * 200, b"[" * 100_000, b'{"a":' * 50_000, b"[" * 126 + b"]" * 126, b"[{}]" * 3),
    # invalid
    *(b"", b" ", b"{", b"}", b"[", b"]", b'"', b"'a'", b"{'a':1}", b"{a:1}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"[1,]"),
    *(
        b"[,1]",
        b"[1,,2]",
        b'{,"a":1}',
        b'{"a" 1}',
        b'{"a"::1}',
        b"[1 2]",
        b"01",
        b"-01",
        b"+1",
        b".5",
        b"1.",
        b"-",
        b"1e",
    ),
    *(
        b"1e+",
        b"0x1F",
        b"1_000",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"nan",
        b"nul",
        b"True",
        b"None",
        b"undefined",
        b"tru",
    ),
    *(
        b'"\\x41"',
        b'"\\u12"',
        b'"\\u00G0"',
        b'"\\"',
        b'"\\',
        b'"a\nb"',
        b'"\t"',
        b"/* */{}",
        b"{}//",
        b"#\n{}",
        b"{}{}",
        b"{}x",
    ),
    *(
        b"\x00",
        b"{\x00}",
        b"{}\x00",
        b"\x0b{}",
        b"\xc2\xa0{}",
        b"\xe2\x81\xa0{}",
        b"<xml/>",
        b"a=b&c=d",
        b"--x\r\n",
        b"\x1f\x8b\x08",
    ),
    *(
        b"[" + b"1," * 50_000 + b"1]",
        b'{"a":"' + b"x" * 200_000,
        b"1 " * 10_000,
        b"*1\r\n$4\r\nPING\r\n",
        b"\xff\xfe{\x00}\x00",
    ),
)
"""Whole bodies, and what stands in place of a field's value."""


def anywhere(sample: bytes, chance: Random) -> bytes:
    """One of them alone, in place of a value of the sample, or the sample cut, doubled, broken."""
    value = chance.choice(VALUES)
    colons = [at for at, byte in enumerate(sample) if byte == 0x3A]
    at = chance.choice(colons) + 1
    end = min(found for found in (sample.find(b",", at), sample.find(b"}", at), len(sample)) if found >= 0)
    cut = chance.randrange(len(sample))
    ways = (
        value,
        sample[:at] + value + sample[end:],
        sample[:at] + value + sample[end:],
        sample[:at] + value + sample[end:],
        sample[:cut],
        sample[:cut] + value + sample[cut:],
        sample[:1] + b'"data":' + value + b"," + sample[1:],
        sample[:-1] + b"," + sample[1:],
        sample + value,
        flood(chance),
    )
    return chance.choice(ways)


def flood(chance: Random) -> bytes:
    """Very many fields, elements, or keys that are alike."""
    number = chance.choice((1_000, 10_000))
    ways = (
        b"{" + b",".join(b'"k%d":%d' % (each, each) for each in range(number)) + b"}",
        b'{"event":"message.received","data":[' + b",".join([b"{}"] * number) + b"]}",
        b"{" + b",".join([b'"a":1'] * number) + b"}",
        b'{"' + b"k" * number + b'":1}',
    )
    return chance.choice(ways)
