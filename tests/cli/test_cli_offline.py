"""The verbs that need no running gateway."""

import base64
import json
import os
import pty
import re
import resource
import stat
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest

from adapters.registry import names
from gateway.cli import VERBS, load_verb
from gateway.config import load
from gateway.controls import escape_controls
from gateway.delivery.signing import public_key
from tests.cli.running import GATEWAY, run, run_process

MAIN_VERBS = (
    *("demo", "init", "check", "urls", "serve", "send", "status", "tail"),
    *("events", "show", "dead", "audit", "schema", "secret"),
)
"""The verbs the design asks of the first version."""
HEAVY = (
    *("litestar", "httpx", "uvicorn", "redis", "cryptography", "msgspec", "jinja2", "pyreqwest"),
    *("adapters", "schemas", "asyncio"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder after ``gateway init`` for every provider."""
    done = run("init", "--providers", ",".join(names()), "--subscriber", "https://app.example.com/hooks", cwd=tmp_path)
    assert done.code == 0, done.err
    return tmp_path


def test_every_verb_is_in_the_table_and_in_the_help(tmp_path: Path) -> None:
    """--help lists each verb with its line, in the order of the table."""
    assert set(MAIN_VERBS) <= set(VERBS)
    shown = run("--help", cwd=tmp_path).out
    lines = [line.strip("│ ") for line in shown.splitlines()]
    found = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in VERBS]
    assert found == list(VERBS)
    assert all(VERBS[line.split()[0]].help.startswith(line.split(maxsplit=1)[1]) for line in lines if line in found)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_imported_and_explains_itself(verb: str) -> None:
    """The table leads to a command with a help text of its own."""
    command = load_verb(verb)
    assert command.name == verb
    assert command.help


def test_help_is_quick(tmp_path: Path) -> None:
    """gateway --help takes less than 150 ms of processor time, start of Python included."""

    def once_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*GATEWAY, "--help"], cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once_s() for _ in range(4)) < 0.150


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """What makes a verb slow is imported by that verb."""
    code = (
        "import sys; from gateway.cli import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([GATEWAY[0], "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.split() == ["LOADED"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("statsu",), 2, "Did you mean 'status'?"),
        (("check", "--effectiv"), 2, "--effective"),
        (("check",), 3, "gateway init"),
        (("serve",), 3, "gateway init"),
        (("urls",), 3, "gateway init"),
        (("init",), 2, "--providers"),
        (("init", "--providers", "enviai"), 2, "is no adapter"),
        (("init", "--source", "enviaai"), 2, "NAME=ADAPTER"),
        (("init", "--source", "B R=enviaai"), 2, "small letters"),
        (("init", "--source", "a]\n[gateway=enviaai"), 2, "small letters"),
        (("init", "--providers", "enviaai", "--subscriber", "A=https://a.example/"), 2, "small letters"),
        (("init", "--providers", "enviaai", "--subscriber", "http://crm.example.com/"), 3, "is http"),
        (("init", "--providers", "enviaai", "--config", "no/such/gateway.toml"), 3, "cannot write"),
        (("status", "--url", "http://127.0.0.1:1", "--token", "x"), 4, "gateway serve"),
        (("status",), 3, "--url and --token"),
        (("dead", "retry"), 2, "which dead letters"),
    ],
)
def test_each_refusal_says_what_to_do_and_exits_with_its_code(
    arguments: tuple[str, ...], code: int, words: str, tmp_path: Path
) -> None:
    """1 findings, 2 usage, 3 configuration, 4 cannot reach; on stderr, and nothing is written."""
    done = run(*arguments, cwd=tmp_path)
    assert (done.code, done.out) == (code, "")
    assert words in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_init_writes_a_configuration_that_loads(folder: Path) -> None:
    """One source for each provider, a subscriber, and secrets only in .env, which only its owner can read."""
    config = load(folder / "gateway.toml", {})
    assert sorted(source.adapter for source in config.sources.values()) == names()
    assert list(config.subscribers) == ["app"]
    assert config.gateway.tokens[0].role == "operate"
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    toml = (folder / "gateway.toml").read_text()
    assert '\nspool = "./spool"' in toml  # named, so that whoever sets a machine up sees that there is a second folder
    assert config.store.spool == folder / "spool"
    secrets = [line.partition("=")[2] for line in (folder / ".env").read_text().splitlines() if line[:1] != "#"]
    assert len(set(secrets)) == len(secrets) > 5
    assert not any(secret in toml for secret in secrets)
    assert run("check", cwd=folder).code == 0


def test_init_overwrites_nothing(folder: Path) -> None:
    """Without --force it refuses; with it the old file is kept beside, and .env only grows."""
    before, secrets = (folder / "gateway.toml").read_text(), (folder / ".env").read_text()
    refused = run("init", "--providers", "enviaai", cwd=folder)
    assert refused.code == 2
    assert "not overwritten" in refused.err
    assert (folder / "gateway.toml").read_text() == before
    assert run("init", "--force", "--source", "new=engium", cwd=folder).code == 0
    assert (folder / "gateway.toml.1.bak").read_text() == before
    grown = (folder / ".env").read_text()
    assert grown.startswith(secrets)
    assert "NEW_SECRET=" in grown.removeprefix(secrets)
    assert list(load(folder / "gateway.toml", {}).sources) == ["new"]


def test_init_makes_an_open_env_file_private(tmp_path: Path) -> None:
    """Secrets are not added to a file that others can read."""
    (tmp_path / ".env").write_text("OTHER=1")
    (tmp_path / ".env").chmod(0o644)
    assert run("init", "--providers", "enviaai", cwd=tmp_path).code == 0
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert (tmp_path / ".env").read_text().startswith("OTHER=1\n")


def test_init_follows_no_link(tmp_path: Path) -> None:
    """A .env that is a link is not written through."""
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    assert run("init", "--providers", "enviaai", cwd=tmp_path).code == 3
    assert (tmp_path / "elsewhere").read_text() == ""


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    """Somebody who types gets asked for the providers and for the subscriber."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*GATEWAY, "init"], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"enviaai, engium\nhttp://localhost:3000/hooks\n")
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end was closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.wait(20) == 0, shown
    assert b"flexEngage" in shown
    config = load(tmp_path / "gateway.toml", {})
    assert list(config.sources) == ["enviaai", "engium"]
    assert config.subscribers["app"].url == "http://localhost:3000/hooks"


def test_check_tells_every_mistake(tmp_path: Path) -> None:
    """All mistakes, exit 3; with --json an object for each, with file and line apart."""
    (tmp_path / "gateway.toml").write_text('[gateway]\nlisten = "x"\n[stroe]\n')
    done = run("check", cwd=tmp_path)
    assert (done.code, done.err.count("gateway.toml:")) == (3, 2)
    done = run("check", "--json", cwd=tmp_path)
    assert done.code == 3
    assert [(problem["file"], problem["line"]) for problem in done.objects] == [
        ("gateway.toml", 2),
        ("gateway.toml", 3),
    ]


def test_check_finds_what_does_not_keep_it_from_starting(folder: Path) -> None:
    """A broken adapter and an open .env are findings: exit 1."""
    (folder / "acme.py").write_text("raise ValueError\n")
    with (folder / "gateway.toml").open("a") as file:
        file.write('[sources.acme]\nadapter = "acme.py"\n')
    (folder / ".env").chmod(0o644)
    done = run("check", cwd=folder)
    assert done.code == 1
    assert "sources.acme answers 503" in done.err
    assert done.out.startswith("gateway.toml: it can be served, with 2 findings; ")
    assert "chmod 600 .env" in done.err


def test_before_the_first_start_it_says_that_there_was_none(folder: Path) -> None:
    """Not that a file cannot be read, which nobody has heard of; one that is there and cannot be is named."""
    done = run("status", cwd=folder)
    assert (done.code, done.out) == (4, "")
    assert "has not been started here yet: start it with gateway serve" in " ".join(done.err.split())
    (folder / "data" / "admin_token").mkdir(parents=True)
    done = run("status", cwd=folder)
    assert done.code == 4
    assert "data/admin_token cannot be read" in " ".join(done.err.split())


def test_check_finds_a_spool_that_would_not_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user who asks may not write there: exit 1, with the place. Of folders that are not there nothing is said."""
    (folder / "gateway.toml").write_text('[store]\nspool = "elsewhere/spool"\n')
    monkeypatch.setattr(os, "access", lambda path, _mode: "elsewhere" not in str(path))  # root may write everywhere
    assert run("check", cwd=folder).code == 0
    (folder / "elsewhere").mkdir()
    done = run("check", cwd=folder)
    assert done.code == 1
    assert re.search(rf"store\.spool \(gateway\.toml:\d+\) .* may not write in {folder}/elsewhere: .* 503", done.err)


def test_check_shows_every_setting_with_its_origin(folder: Path) -> None:
    """--effective is TOML; --effective --json an object a setting; neither holds a secret."""
    done = run("check", "--effective", cwd=folder)
    assert done.code == 0
    effective = tomllib.loads(done.out)
    assert effective["gateway"]["max_body"] == "1MiB"
    assert effective["subscribers"]["app"]["timeout"] == "15s"
    as_json = run("check", "--effective", "--json", cwd=folder)
    assert {"default", "gateway.toml:5"} <= {row["origin"] for row in as_json.objects}
    secrets = [line.partition("=")[2] for line in (folder / ".env").read_text().splitlines() if line[:1] != "#"]
    assert [secret for secret in secrets if secret in done.out + as_json.out] == []


def test_urls_say_what_to_paste_where(folder: Path) -> None:
    """Each source with its URL, the steps at the provider, and its documented calls; path tokens only on demand."""
    token = load(folder / "gateway.toml", {}).sources["generic-chat"].path_token_reference
    assert token is not None
    value = next(
        line.partition("=")[2] for line in (folder / ".env").read_text().splitlines() if line.startswith(token[4:])
    )
    done = run("urls", cwd=folder)
    assert done.code == 0
    for name in load(folder / "gateway.toml", {}).sources:
        assert f"http://127.0.0.1:8080/in/{name}" in done.out
    assert "POST https://api.enviaai.app/v1/webhooks" in done.out
    assert "{url}" not in done.out
    assert value not in done.out
    assert "public_url" in done.err
    shown = run("urls", "--show-secrets", "--json", cwd=folder)
    urls = {sheet["source"]: sheet["url"] for sheet in shown.objects if "source" in sheet}
    assert urls["generic-chat"] == f"http://127.0.0.1:8080/in/generic-chat/{value}"


def test_urls_begin_with_the_public_url(folder: Path) -> None:
    """Behind a proxy providers see another address than we listen on."""
    toml = (folder / "gateway.toml").read_text().replace("# public_url", "public_url")
    (folder / "gateway.toml").write_text(toml)
    done = run("urls", cwd=folder)
    assert "https://hooks.example.com/in/enviaai" in done.out
    assert done.err == ""


def test_urls_show_public_keys_and_no_private_ones(folder: Path) -> None:
    """Of a subscriber: what it receives, and the public half of a whsk_ key, made from the private one."""
    key = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    (folder / ".env").write_text(re.sub("=whsec_.*", f"={key}", (folder / ".env").read_text()))
    done, as_json = run("urls", cwd=folder), run("urls", "--json", cwd=folder)
    (slip,) = [sheet for sheet in as_json.objects if "subscriber" in sheet]
    assert slip["public_keys"] == ["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="]
    assert slip["public_keys"][0] in done.out
    assert "whsk_" not in done.out + as_json.out


def test_schema_is_printed_in_each_language(tmp_path: Path) -> None:
    """json is a schema, ts has the union, python compiles."""
    jsonschema.Draft202012Validator.check_schema(json.loads(run("schema", cwd=tmp_path).out))
    assert "export type GatewayEvent =" in run("schema", "--lang", "ts", cwd=tmp_path).out
    compile(run("schema", "--lang", "python", cwd=tmp_path).out, "event.py", "exec")


def test_secrets_are_fresh_and_of_the_form_asked_for(tmp_path: Path) -> None:
    """whsec_ and 32 bytes in base64, or a token of 256 bits that fits in a URL."""
    first, second = run("secret", "new", cwd=tmp_path).out, run("secret", "new", cwd=tmp_path).out
    assert first != second
    assert len(base64.b64decode(first.strip().removeprefix("whsec_"), validate=True)) == 32
    pair = run("secret", "new", "--kind", "whsk", cwd=tmp_path).out.strip()
    seed = base64.b64decode(pair.removeprefix("whsk_"), validate=True)[:32]
    assert public_key(pair) == public_key("whsk_" + base64.b64encode(seed).decode())
    for kind in ("token", "path-token"):
        made = run("secret", "new", "--kind", kind, cwd=tmp_path).out.strip()
        assert len(base64.urlsafe_b64decode(made + "=")) == 32


def test_colour_is_for_terminals_only(folder: Path) -> None:
    """Into a pipe goes plain text, from a process of its own too."""
    for arguments in (("check",), ("check", "--effective"), ("--help",), ("urls",)):
        done = run_process(*arguments, cwd=folder)
        assert done.code == 0
        assert "\x1b" not in done.out + done.err


def test_foreign_text_cannot_steer_a_terminal() -> None:
    """Control characters and those that turn the direction of writing are written out, and JSON stays JSON."""
    nasty = "a\x1b[2J\x9b1m\u202eb\n"
    assert escape_controls(nasty) == "a\\u001b[2J\\u009b1m\\u202eb\\u000a"
    assert json.loads(escape_controls(json.dumps(nasty, ensure_ascii=False))) == nasty
