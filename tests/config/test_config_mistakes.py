"""What a bad file is told: every mistake at once, where it is, why, and what to write."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.config_file.lines import Lines
from gateway.config_file.references import References
from gateway.config_file.section import SUGGESTED_FOR, Key, Reading, Section
from gateway.config_file.values import text
from gateway.errors import ConfigError

WHSEC = "whsec_" + base64.b64encode(b"k" * 32).decode()
ENV = {
    "S": "some-secret",
    "W": WHSEC,
    "TOKEN": "t" * 22,
    "SHORT": "t" * 21,
    "EMPTY": "",
    "WHSEC_SHORT": "whsec_" + base64.b64encode(b"k" * 23).decode(),
    "WHSEC_LONG": "whsec_" + base64.b64encode(b"k" * 65).decode(),
    "WHSEC_BAD": "whsec_not base64!",
    "SPACE": "two words",
    "STORE": "redis://user:hunter2@host/0",
}
ENVIAAI = '[sources.br]\nadapter = "enviaai"\n'
AIVO = '[sources.a]\nadapter = "aivo_engage"\n'
FLEXENGAGE = '[sources.r]\nadapter = "flexengage"\n'
TOKEN = '[[gateway.tokens]]\nname = "a"\nrole = "read"\nsecret = "env:TOKEN"\n'
SOURCE = ENVIAAI + 'secrets = ["env:S"]\n'
SUBSCRIBER = '[subscribers.crm]\nurl = "https://crm.example.com/"\nsecrets = ["env:W"]\n'
CHAT = '[sources.chat]\nadapter = "generic_chat"\n'
METADATA = [
    *("169.254.169.254", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.16689662"),
    *("169.254.169.254.", "%31%36%39.254.169.254", "169。254。169。254", "[::ffff:169.254.169.254]", "[::a9fe:a9fe]"),
    *(
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "100.100.100.200",
        "168.63.129.16",
    ),
]
"""One metadata service in all spellings, then others."""

OWN = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.0.0.1", "2130706433"),
    ("127.0.0.1", "localhost"),
    ("0.0.0.0", "127.0.0.1"),  # a text in a file; nothing is bound
    ("localhost", "127.0.0.1"),
]
"""Where the gateway listens, and how a subscriber may write that."""


def problems_of(toml: str, folder: Path) -> list[str]:
    """Load a file and return what it is told; none if it loads."""
    path = folder / "gateway.toml"
    path.write_bytes(toml.encode("utf-8", "surrogateescape"))
    try:
        load(path, ENV)
    except ConfigError as error:
        return [problem.replace(f"{folder}{os.sep}", "") for problem in error.problems]
    return []


MISTAKES = {
    # what the file is
    "not TOML": ("[gateway]\nlisten =\n", 2, "is not TOML: Invalid value; write key = value"),
    "text without quotes": ("[gateway]\nlisten = here\n", 2, "is not TOML: Invalid value; write key = value, texts in"),
    "no assignment": ("[gateway]\nlisten\n", 2, "after a key in a key/value pair; write key = value"),
    "unfinished": ('[gateway]\nlisten = """\n', 3, "is not TOML: Unterminated string; write what closes it"),
    "unfinished head": ("[gateway\nlisten = 1\n", 1, "end of a table declaration; write the head of a table as [name]"),
    "unfinished text": ('[gateway]\nlisten = "x\n', 2, "; write a text on one line and in quotes"),
    "half a pair of surrogates": ('[gateway]\nlisten = "\\ud800"\n', 2, "; write what TOML has in that place"),
    "doubled key": (
        "[gateway]\nlog_level = 'info'\nlog_level = 'info'\n",
        3,
        ": log_level stands there twice; write it once",
    ),
    "doubled table": (
        '[sources.br]\nadapter = "evolution"\n[sources.br] # again\n',
        3,
        ": [sources.br] stands there twice; write it once",
    ),
    "doubled list": ("[gateway]\nlog_level = [\n]\nlog_level = [\n]\n", 5, "a key or a table stands there twice"),
    "doubled in a line": ("[gateway]\nlog_level = { a = 1, a = 2 }\n", 2, "log_level stands there twice"),
    "not UTF-8": ("[gateway]\n# \udcff\n", 2, "is not UTF-8"),
    "too deep": ("x = " + "[" * 5000 + "]" * 5000, 1, "nests too deep"),
    # names
    "unknown table": ("\n[gatway]\n", 2, "did you mean gateway?"),
    "unknown key": ('[gateway]\nlisten_on = "x"\n', 2, "did you mean listen?"),
    "key of another adapter": (
        SOURCE + 'header = "x-auth-token"\n',
        4,
        "not a key that is known to the adapter",
    ),
    "unknown adapter": ('[sources.br]\nadapter = "enviai"\n', 2, "did you mean enviaai?"),
    "misspelt adapter": ('[sources.br]\nadaptr = "enviaai"\nheader = "x"\nrat = "1/s"\n', 2, "did you mean adapter?"),
    "misspelt setting that is needed": (FLEXENGAGE + 'acounts = ["a"]\n', 3, "did you mean accounts?"),
    "misspelt proof": (CHAT + 'secrts = ["env:S"]\n', 3, 'mean secrets?); write secrets = ["env:CHAT_SECRET"]'),
    "misspelt proof among several": (CHAT + 'path_tokn = "env:TOKEN"\n', 3, '; write path_token = "env:CHAT_TOKEN"'),
    "misspelt unauthenticated, of several": (CHAT + "unauthenticatd = true\n", 3, "write unauthenticated = true, if"),
    "misspelt unauthenticated": (
        AIVO + "unauthenticted = true\n",
        3,
        "(did you mean unauthenticated?); write unauthenticated = true",
    ),
    "adapter in capitals": ('[sources.br]\nADAPTER = "enviaai"\n', 2, "(did you mean adapter?); write adapter ="),
    "no adapter": ('[sources.br]\nsecrets = ["env:S"]\n', 1, "lacks adapter"),
    "adapter's file is missing": ('[sources.br]\nadapter = "no/such.py"\n', 2, "is not there"),
    "bad source name": ('[sources.BR]\nadapter = "enviaai"\nsecrets = ["env:S"]\n', 1, "cannot stand in a URL"),
    "bad subscriber name": (SUBSCRIBER.replace("crm]", '"a b"]'), 1, "cannot stand in a URL"),
    "table that is none": ("gateway = 1\n", 1, "is not a table"),
    "sources that are none": ("sources = 1\n", 1, "is not a table"),
    "source that is none": ("[sources]\nbr = 1\n", 2, "is not a table"),
    "subscriber that is none": ("[subscribers]\ncrm = 1\n", 2, "is not a table"),
    # forms
    "duration without unit": ("[gateway]\nbody_timeout = 10\n", 2, "is not a duration"),
    "duration in words": ('[gateway]\nbody_timeout = "10 seconds"\n', 2, "is not a duration"),
    "duration out of range": ('[gateway]\nbody_timeout = "2h"\n', 2, "out of range"),
    "size in MB": ('[gateway]\nmax_body = "1MB"\n', 2, "is not a size"),
    "size out of range": ('[gateway]\nmax_body = "65MiB"\n', 2, "out of range"),
    "choice": ('[store]\ndurability = "fsnyc"\n', 2, "did you mean fsync?"),
    "flag as text": (SUBSCRIBER + 'raw = "no"\n', 4, "not a yes or no"),
    "number as text": (SUBSCRIBER + 'concurrency = "32"\n', 4, "whole number"),
    "true is no number": (SUBSCRIBER + "concurrency = true\n", 4, "whole number"),
    "partitions": ("[store]\npartitions = 0\n", 2, "from 1 to 256"),
    "listen without port": ('[gateway]\nlisten = "127.0.0.1"\n', 2, "not a host and a port"),
    "listen without host": ('[gateway]\nlisten = ":8080"\n', 2, "0.0.0.0:8080"),
    "listen beyond ports": ('[gateway]\nlisten = "[::1]:65536"\n', 2, "not a host and a port"),
    "listen on bare IPv6": ('[gateway]\nlisten = "::1:8080"\n', 2, "brackets"),
    "listen on no host": ('[gateway]\nlisten = "1.2.3:80"\n', 2, "address or a host name"),
    "network with host bits": ('[gateway]\ntrusted_proxies = ["10.1.2.3/8"]\n', 2, '"10.0.0.0/8" for the network'),
    "no network": ('[gateway]\ntrusted_proxies = ["proxy"]\n', 2, "is not a network"),
    "list that is none": ('[gateway]\ntrusted_proxies = "10.0.0.0/8"\n', 2, "not a list"),
    "public_url": ('[gateway]\npublic_url = "hooks.example.com"\n', 2, "not an http or https URL"),
    "public_url with query": ('[gateway]\npublic_url = "https://a/?b"\n', 2, "a query"),
    "rate": (SOURCE + 'rate = "0/s"\n', 4, "is not a rate"),
    "start": (SUBSCRIBER + 'start = "yesterday"\n', 4, "not a place to start"),
    "start without zone": (SUBSCRIBER + "start = 2026-02-03T12:00:00\n", 4, "not a place to start"),
    "type": (SUBSCRIBER + 'types = ["message.recieved"]\n', 4, "did you mean message.received?"),
    "no types": (SUBSCRIBER + "types = []\n", 4, "0 elements"),
    "retry": (SUBSCRIBER + 'retry = ["5s", "2d"]\n', 4, "retry[1]"),
    "second element on its own line": (SUBSCRIBER + 'retry = [\n  "5s",\n  "2",\n]\n', 6, "retry[1]"),
    # where a store may be
    "store scheme": ('[store]\nurl = "postgres://x"\n', 2, "is not a store"),
    "store without host": ('[store]\nurl = "redis:///0"\n', 2, "names no host"),
    "store without directory": ('[store]\nurl = "embedded:"\n', 2, "names no directory"),
    "store without socket": ('[store]\nurl = "unix://"\n', 2, "names no socket"),
    # proof
    "no proof": (CHAT, 1, 'secrets = ["env:CHAT_SECRET"], or path_token = "env:CHAT_TOKEN"'),
    "no proof: the way out": (CHAT, 1, "unauthenticated = true"),
    "no secrets": (ENVIAAI, 1, 'secrets = ["env:ENVIAAI_SECRET"]'),
    "no header": (AIVO + 'secrets = ["env:S"]\n', 1, 'header = "x-auth-token"'),
    "no accounts": (FLEXENGAGE, 1, 'accounts = ["yourBrandId"]'),
    "empty accounts": (FLEXENGAGE + "accounts = []\n", 3, "0 elements"),
    "empty secrets": (ENVIAAI + "secrets = []\n", 3, "0 elements"),
    "both proof and none": (SOURCE + "unauthenticated = true\n", 4, "contradicts secrets"),
    "window under the retries": (SOURCE + 'dedupe_window = "1h"\n', 4, "ends before the last retry"),
    "environment": (
        FLEXENGAGE + 'accounts = ["a"]\nenvironment = "tset"\n',
        4,
        "did you mean test?",
    ),
    "header's name": (
        AIVO + 'header = "a: b"\nsecrets = ["env:S"]\n',
        3,
        "not the name of a",
    ),
    "short path token": (CHAT + 'path_token = "env:SHORT"\n', 3, "shorter than 22"),
    "path token that needs escaping": (CHAT + 'path_token = "env:STORE"\n', 3, "does not fit in a path"),
    "key that is none": (
        FLEXENGAGE + 'accounts = ["a"]\npublic_key = "env:S"\n',
        4,
        "no public key in PEM",
    ),
    # references
    "unset variable": (
        ENVIAAI + 'secrets = ["env:NOPE"]\n',
        3,
        "the variable NOPE is not set",
    ),
    "empty variable": (
        ENVIAAI + 'secrets = ["env:EMPTY"]\n',
        3,
        "the variable EMPTY is empty",
    ),
    "bad variable": (ENVIAAI + 'secrets = ["env:A-B"]\n', 3, "environment variable"),
    "missing file": (
        ENVIAAI + 'secrets = ["file:nope"]\n',
        3,
        "file:nope, which cannot be read",
    ),
    "no credentials": (ENVIAAI + 'secrets = ["credential:a"]\n', 3, "CREDENTIALS_DIRECTORY"),
    "credential elsewhere": (
        ENVIAAI + 'secrets = ["credential:../a"]\n',
        3,
        "not a file name",
    ),
    "short admin token": ('[gateway]\nadmin_token = "env:SHORT"\n', 2, "can be guessed"),
    # where the spool may be
    "spool that is a file": ('[store]\nspool = "gateway.toml"\n', 2, "cannot be a folder: gateway.toml is none"),
    "spool below a file": ('[store]\nspool = "gateway.toml/a/b"\n', 2, "cannot be a folder: gateway.toml is none"),
    "spool that is no disk": ('[store]\nspool = "/proc/self/spool"\n', 2, "lies in /proc, where nothing is kept"),
    "spool in memory": ('[store]\nspool = "/dev/shm/../shm/spool"\n', 2, "lies in /dev, where nothing is kept"),
    "spool that is the data": ('[store]\nspool = "./data"\n', 2, "is the data directory data, which a restore"),
    "spool in the data": (
        '[store]\nspool = "data/a/../b"\nurl = "embedded:data"\n',
        2,
        "lies in the data directory data, which a restore must find empty; write a folder beside it",
    ),
    "spool around the data": ('[store]\nurl = "embedded:s/data"\nspool = "s"\n', 3, "holds the data directory s/data"),
    "default spool in the data": ('\n[store]\nurl = "embedded:."\n', 2, '= "./spool" lies in the data directory'),
    # tokens
    "token without role": ('[[gateway.tokens]]\nname = "a"\nsecret = "env:TOKEN"\n', 1, "tokens[0] lacks role"),
    "token with a wrong role": (
        '[[gateway.tokens]]\nname = "a"\nrole = "write"\nsecret = "env:TOKEN"\n',
        3,
        '"read" or "operate"',
    ),
    "two tokens of one name": (
        '[gateway]\nadmin_token = "env:TOKEN"\n' + TOKEN.replace('"a"', '"admin"'),
        4,
        "the name of another token",
    ),
    "token that is no table": ("[gateway]\ntokens = [1]\n", 2, "; write [[gateway.tokens]] on a line of its own"),
    "tokens that are none": ("[gateway]\ntokens = 1\n", 2, "[[gateway.tokens]]"),
    # where deliveries may go
    "misspelt url": (SUBSCRIBER.replace("url", "ulr"), 2, "ulr is not a key that is known here (did you mean url?)"),
    "misspelt secrets": (
        SUBSCRIBER.replace("secrets", "secret"),
        3,
        '(did you mean secrets?); write secrets = ["env:CRM_SECRET"]',
    ),
    "misspelt role": (TOKEN.replace("role", "rol"), 3, '(did you mean role?); write role = "read" or role = "operate"'),
    "key of an adapter that nobody named": ('[sources.br]\nheader = "x"\n', 1, "lacks adapter"),
    "no url": ('[subscribers.crm]\nsecrets = ["env:W"]\n', 1, "lacks url"),
    "no subscriber secrets": ('[subscribers.crm]\nurl = "https://a/"\n', 1, 'secrets = ["env:CRM_SECRET"]'),
    "url without scheme": (SUBSCRIBER.replace("https://", ""), 2, "is not a URL"),
    "url of another scheme": (SUBSCRIBER.replace("https:", "ftp:"), 2, "not an http or https URL"),
    "url with a user": (SUBSCRIBER.replace("crm.ex", "u:pw@crm.ex"), 2, "holds a user or a password"),
    "url with a fragment": (SUBSCRIBER.replace("com/", "com/#a"), 2, "fragment"),
    "http": (SUBSCRIBER.replace("https:", "http:"), 2, 'allow_networks = ["10.2.0.0/16"] beside'),
    **{
        f"http to {host} that nobody named": (
            SUBSCRIBER.replace("https://crm.example.com", f"http://{host}"),
            2,
            f"allow_networks = [{networks}] beside",
        )
        for host, networks in (
            ("127.0.0.2", '"127.0.0.0/8"'),
            ("localhost", '"127.0.0.0/8", "::1/128"'),
            ("[::1]", '"::1/128"'),
            ("10.0.0.1", '"10.0.0.1/32"'),
        )
    },
    "http to metadata": (
        SUBSCRIBER.replace("https://crm.example.com", "http://169.254.169.254"),
        2,
        "metadata, 169.254.0.0/16); write a public address or name",
    ),
    "http outside the networks": (
        SUBSCRIBER.replace("https://crm.example.com", "http://10.3.0.1") + 'allow_networks = ["10.2.0.0/16"]\n',
        2,
        "10.3.0.1 is in none of allow_networks",
    ),
    "http to a number": (
        SUBSCRIBER.replace("https://crm.example.com", "http://2130706433") + 'allow_networks = ["10.2.0.0/16"]\n',
        2,
        "127.0.0.1 is in none of allow_networks",
    ),
    "http to localhost": (
        SUBSCRIBER.replace("https://crm.example.com", "http://localhost") + 'allow_networks = ["10.2.0.0/16"]\n',
        2,
        "localhost is in none of allow_networks",
    ),
    "port 0": (SUBSCRIBER.replace("example.com/", "example.com:0/"), 2, "has port 0"),
    **{
        f"metadata at {host}": (
            SUBSCRIBER.replace("crm.example.com", host) + 'allow_networks = ["0.0.0.0/0", "::/0"]\n',
            2,
            "which is not public",
        )
        for host in METADATA
    },
    "metadata in clear": (
        SUBSCRIBER.replace("https://crm.example.com", "http://0xA9FEA9FE") + 'allow_networks = ["0.0.0.0/0"]\n',
        2,
        "leads to 169.254.169.254, which is not public (link-local, where clouds serve instance metadata",
    ),
    "a private address that nobody named": (
        SUBSCRIBER.replace("crm.example.com", "10.2.0.7"),
        2,
        'if it is your own allow_networks = ["10.2.0.7/32"]',
    ),
    **{
        f"the gateway's own {listen} as {host}": (
            SUBSCRIBER.replace("https://crm.example.com", f"http://{host}:8473")
            + 'allow_networks = ["127.0.0.0/8", "::1/128"]\n'
            + f'[gateway]\nlisten = "{listen}:8473"\n',
            2,
            "leads to the gateway itself",
        )
        for listen, host in OWN
    },
    "the gateway's own intake by public_url": (
        SUBSCRIBER.replace("example.com/", "example.com/in/chat")
        + '[gateway]\npublic_url = "https://crm.example.com"\n',
        2,
        "leads to the gateway itself",
    ),
    "alerts to the gateway itself": (
        '[alerts]\nurl = "http://localhost:8080/in/chat"\nallow_networks = ["127.0.0.0/8"]\n',
        2,
        "mend listen in [gateway]",
    ),
    # signing keys
    "whsec_ missing": (SUBSCRIBER.replace("env:W", "env:S"), 3, "neither whsec_ nor whsk_"),
    "whsec_ of 23 bytes": (SUBSCRIBER.replace("env:W", "env:WHSEC_SHORT"), 3, "24 to 64 bytes"),
    "whsec_ of 65 bytes": (SUBSCRIBER.replace("env:W", "env:WHSEC_LONG"), 3, "24 to 64 bytes"),
    "whsec_ not base64": (SUBSCRIBER.replace("env:W", "env:WHSEC_BAD"), 3, "not base64"),
    # filters
    "unknown field": (
        SUBSCRIBER + "where = \"event.chanel == 'a'\"\n",
        4,
        "column 7: no event has event.chanel (did you",
    ),
    "field of other types": (
        SUBSCRIBER + 'types = ["message.*"]\nwhere = "has(event.data.amount)"\n',
        5,
        "column 16: no event that types lets through has event.data.amount",
    ),
    "filter that is not CEL": (SUBSCRIBER + "where = \"event.channel = 'a'\"\n", 4, "column 15: is not CEL"),
    "filter with an undeclared name": (SUBSCRIBER + "where = \"channel == 'a'\"\n", 4, "did you mean event.channel?"),
    "filter of 10 kB": (SUBSCRIBER + f'where = "{"true || " * 1430}true"\n', 4, "at most 2000"),
    "nested loops in a filter": (
        SUBSCRIBER + 'where = "event.raw.exists(x, x.exists(y, y == 1))"\n',
        4,
        "a loop within a loop",
    ),
    "filter on two lines": (SUBSCRIBER + 'where = "true\\n|| true"\n', 4, "control characters"),
    "filter that is no text": (SUBSCRIBER + "where = true\n", 4, "not a text"),
    # headers
    "headers that are none": (SUBSCRIBER + 'headers = ["x-team: crm"]\n', 4, "not a table of headers"),
    "newline in a header": (SUBSCRIBER + 'headers = { x-team = "a\\r\\nb: c" }\n', 4, "headers.x-team"),
    "NUL in a header": (SUBSCRIBER + 'headers = { x-team = "a\\u0000" }\n', 4, "control characters"),
    "space at a header's end": (SUBSCRIBER + 'headers = { x-team = "a " }\n', 4, "cannot carry"),
    "not ASCII in a header": (SUBSCRIBER + 'headers = { x-team = "é" }\n', 4, "cannot carry"),
    "colon in a header's name": (SUBSCRIBER + 'headers = { "x: y" = "a" }\n', 4, "not a header's name"),
    "signing header": (SUBSCRIBER + 'headers = { Webhook-Id = "a" }\n', 4, "signs or frames"),
    "framing header": (SUBSCRIBER + 'headers = { Transfer-Encoding = "a" }\n', 4, "signs or frames"),
    "length header": (SUBSCRIBER + 'headers = { content-length = "1" }\n', 4, "signs or frames"),
    "host header": (SUBSCRIBER + 'headers = { host = "a" }\n', 4, "signs or frames"),
    "the gateway's header": (SUBSCRIBER + 'headers = { gateway-attempt = "1" }\n', 4, "signs or frames"),
    "one header twice": (SUBSCRIBER + 'headers = { X-a = "1", x-A = "2" }\n', 4, "one header twice"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_says_where_why_and_what_to_write(case: str, tmp_path: Path) -> None:
    """One mistake, one line: file and line, what is wrong with which key, and what to write instead."""
    toml, line, words = MISTAKES[case]
    found = problems_of(toml, tmp_path)
    assert len(found) == 1, found
    assert found[0].startswith(f"gateway.toml:{line}: "), found
    assert words in found[0]
    assert "; write " in found[0]
    assert "\n" not in found[0]


NEIGHBOURS = [
    SUBSCRIBER.replace("https://crm.example.com", "http://127.0.0.1:8474")
    + 'allow_networks = ["127.0.0.0/8"]\n[gateway]\nlisten = "0.0.0.0:8473"\n',
    SUBSCRIBER + '[gateway]\npublic_url = "https://crm.example.com"\n',
]
"""Beside the gateway: another port of its machine, and another path of its public host."""


@pytest.mark.parametrize(
    "toml", [SOURCE, SUBSCRIBER, CHAT + 'path_token = "env:TOKEN"\n', "", "# nothing\n", *NEIGHBOURS]
)
def test_without_the_mistake_the_files_load(toml: str, tmp_path: Path) -> None:
    """The control of the table above: its building blocks are fine by themselves."""
    assert problems_of(toml, tmp_path) == []


def test_all_mistakes_come_at_once_and_in_order(tmp_path: Path) -> None:
    """One run tells everything, from the top of the file to its end."""
    toml = (
        '[gateway]\nmax_body = "1MB"\nlisten = "x"\n'
        '[sources.a]\nadapter = "nope"\n'
        '[sources.b]\nadapter = "generic_chat"\n'
        '[subscribers.c]\nurl = "http://c"\nsecrets = ["env:NOPE", "env:NEITHER"]\nwho = 1\n'
    )
    lines = [int(problem.split(":")[1]) for problem in problems_of(toml, tmp_path)]
    assert lines == [2, 3, 5, 6, 9, 10, 10, 11]


def test_a_misspelt_key_stands_for_one_that_is_lacking_and_no_more(tmp_path: Path) -> None:
    """Each key that is lacking is told, as misspelt or as lacking; a source without an adapter tells its other keys."""
    found = problems_of('[subscribers.crm]\nulr = "https://a/"\nurll = "https://b/"\n', tmp_path)
    wanted = ("lacks secrets", "mean url?); write url", "write one of")
    assert [words for words, told in zip(wanted, found, strict=True) if words not in told] == []
    found = problems_of('[sources.br]\nadaptr = "enviaai"\nrate = "often"\n', tmp_path)
    assert len(found) == 2
    assert "rate" in found[1]


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (SOURCE + 'adaptr = "enviaai"\n', [False]),
        (ENVIAAI + 'secrts = ["env:S"]\nsecret = ["env:S"]\n', [True, False]),
        (SUBSCRIBER.replace("url", "urll") + 'ulr = "https://b/"\nwhre = "true"\n', [True, False, True]),
        (TOKEN + 'roles = "read"\n', [False]),
        (ENVIAAI + "unauthenticated = false\nunauthenticted = true\n", [None, False]),
        ('[sources.br]\nadaptr = "enviaai"\nadpter = "enviaai"\nsecrts = ["env:S"]\n', [True, False]),
    ],
)
def test_no_key_is_suggested_that_stands_there_nor_one_twice(
    toml: str, told: list[bool | None], tmp_path: Path
) -> None:
    """A second spelling is a mistake of its own, and what to write does not name the key again; what lacks is told."""
    found = problems_of(toml, tmp_path)
    assert ["did you mean" in each if "is not a key" in each else None for each in found] == told, found
    given = {line.partition(" = ")[0] for line in toml.splitlines()}
    assert not any(given & set(each.partition("; write one of ")[2].split(", ")) for each in found), found


def test_many_keys_that_nobody_knows_are_named_and_the_first_compared() -> None:
    """A table of thousands, as one may send to the API, costs no comparison for each: all are named nevertheless."""
    reading = Reading("gateway.toml", Path(), Lines(""), References(Path(), {}, {}))
    section = Section(reading, ("subscribers", "crm"), {f"unlike{number}": 1 for number in range(SUGGESTED_FOR)})
    section.table["ordr"] = 1
    section.read(Key("order", text, "none"))
    section.finish()
    assert len(reading.mistakes) == SUGGESTED_FOR + 1
    assert not any("did you mean" in mistake.words for mistake in reading.mistakes)
    few = Section(reading, ("subscribers", "crm"), {"unlike": 1, "ordr": 1})
    few.read(Key("order", text, "none"))
    few.finish()
    assert "did you mean order?" in reading.mistakes[-1].words, "the control"


INLINE = "hunter2-is-not-a-reference"


@pytest.mark.parametrize(
    "toml",
    [
        f'[gateway]\nadmin_token = "{INLINE}"\n',
        f'[[gateway.tokens]]\nname = "a"\nrole = "read"\nsecret = "{INLINE}"\n',
        f'[store]\nurl = "redis://:{INLINE}@host/0"\n',
        f'[store]\nurl = "redis://host/0?password={INLINE}"\n',
        ENVIAAI + f'secrets = ["{INLINE}"]\n',
        ENVIAAI + f'secrets = "{INLINE}"\n',
        ENVIAAI + f'secret = "{INLINE}"\n',
        AIVO + f'secrets = ["env:S"]\nheader = "x-auth-token: {INLINE}"\n',
        CHAT + f'path_token = "{INLINE}"\n',
        SUBSCRIBER.replace("env:W", WHSEC[:-9] + INLINE),
        SUBSCRIBER.replace("https://crm", f"https://u:{INLINE}@crm"),
        SUBSCRIBER.replace("https://crm.example.com/", f"http://crm.example.com/?key={INLINE}"),
        SUBSCRIBER + f'headers = {{ Authorization = "Bearer {INLINE}" }}\n',
        SUBSCRIBER + f'headers = {{ x-api-key = "{INLINE}" }}\n',
    ],
)
def test_a_secret_in_the_file_is_an_error_that_does_not_repeat_it(toml: str, tmp_path: Path) -> None:
    """Secrets stand in the environment or in files of their own; the message shows no part of one."""
    found = problems_of(toml, tmp_path)
    assert found
    assert INLINE not in "\n".join(found)
    assert WHSEC[6:20] not in "\n".join(found)


def test_a_secret_behind_a_reference_is_not_shown_when_it_is_wrong(tmp_path: Path) -> None:
    """Whatever is wrong with the value a reference leads to, the message names the reference."""
    toml = "".join(f'[subscribers.s{i}]\nurl = "env:STORE"\nsecrets = ["env:{name}"]\n' for i, name in enumerate(ENV))
    found = "\n".join(problems_of(toml, tmp_path))
    assert [name for name, value in ENV.items() if value and value in found] == []


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    """No gateway.toml: gateway init."""
    with pytest.raises(ConfigError, match="gateway init"):
        load(tmp_path / "gateway.toml", {})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A path that cannot be read is a mistake like any other."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("[]{}=\"'.,#\n \\abсx1:_-"), max_size=60))
def test_any_text_ends_in_a_config_or_a_config_error(text: str) -> None:
    """Whatever stands in the file, reading it raises nothing else."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        problems_of("[gateway]\n" + text, Path(folder))
        problems_of("[sources.a]\nadapter='enviaai'\n" + text, Path(folder))


_ANY = st.recursive(
    st.sampled_from(["env:S", "env:W", "https://a/", "x", "*", "5s", "1MiB", 1, -1, True, 0.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "x-y"]), inner, max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_of_any_key_ends_in_a_config_or_a_config_error(data: st.DataObject) -> None:
    """A value of another type than a key wants is a mistake with a line, never a crash."""
    from tempfile import TemporaryDirectory

    from gateway.config_file.section import as_toml

    everything = Path(__file__).with_name("everything.toml").read_text("utf-8").splitlines()
    numbers = [number for number, line in enumerate(everything) if " = " in line]
    chosen = data.draw(st.sampled_from(numbers))
    everything[chosen] = f"{everything[chosen].split(' = ')[0]} = {as_toml(data.draw(_ANY))}"
    with TemporaryDirectory() as folder:
        problems_of("\n".join(everything), Path(folder))
