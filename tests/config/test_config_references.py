"""Where secrets are looked for, and in which order."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import load
from gateway.config_file.effective import effective
from gateway.config_file.references import References, is_reference, parse_dotenv
from gateway.config_file.values import Wrong
from gateway.errors import ConfigError

NOTHING: Mapping[str, str] = {}


def test_the_environment_wins_over_the_file_beside() -> None:
    """env: takes the real variable first, then the one of .env, and an empty one counts as none."""
    references = References(Path(), {"A": "real", "B": ""}, {"A": "beside", "B": "beside", "C": "beside"})
    assert [references.resolve(f"env:{name}") for name in "ABC"] == [b"real", b"beside", b"beside"]
    assert [references.origin(f"env:{name}") for name in "ABC"] == ["environment", ".env", ".env"]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_the_newline_that_ends_a_file_is_not_part_of_the_secret(tmp_path: Path, ending: bytes) -> None:
    """Editors end files with a newline; a secret with one would verify nothing."""
    (tmp_path / "secret").write_bytes(b" s\n3cret " + ending)
    assert References(tmp_path, NOTHING, NOTHING).resolve("file:secret") == b" s\n3cret "


def test_a_credential_of_systemd_is_a_file_of_its_folder(tmp_path: Path) -> None:
    """credential: reads $CREDENTIALS_DIRECTORY/<name> and cannot leave that folder."""
    (tmp_path / "a.key").write_bytes(b"value\n")
    references = References(Path("/nowhere"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}, NOTHING)
    assert references.resolve("credential:a.key") == b"value"
    for outside in ("credential:..", "credential:../a.key", "credential:x/../a.key"):
        with pytest.raises(Wrong):
            references.resolve(outside)


@pytest.mark.parametrize("reference", ["file:empty", "file:large", "file:folder", "file:a\0b"])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, reference: str) -> None:
    """Empty, larger than 64 KiB, a folder, an impossible path: each is named, none is a crash."""
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "large").write_bytes(b"x" * (64 * 1024 + 1))
    (tmp_path / "folder").mkdir()
    with pytest.raises(Wrong):
        References(tmp_path, NOTHING, NOTHING).resolve(reference)


def test_only_the_three_forms_are_references() -> None:
    """A URL or a plain text is none, and so nothing that could be a secret passes for one."""
    assert is_reference("env:A")
    assert is_reference("file:a/b")
    assert is_reference("credential:c")
    assert not any(is_reference(value) for value in ("https://x", "env:", "ENV:A", "secret", "", 1, ["env:A"]))


def test_assignments_of_every_form_are_read() -> None:
    """Bare, quoted and exported values, comments and blank lines; a $ is a $."""
    values, bad = parse_dotenv(
        '# comment\n\nA=bare\nexport B = \'single # not a comment\' # a comment\nC="double \\" \\n \\\\ $X"\n'
        "D=bare with spaces # comment\nE=a#b\nF=\nG='\\n'\nH=x=y==\nI= # only a comment\n"
    )
    assert bad == []
    assert values == {
        "A": "bare",
        "B": "single # not a comment",
        "C": 'double " \n \\ $X',
        "D": "bare with spaces",
        "E": "a#b",
        "F": "",
        "G": "\\n",
        "H": "x=y==",
        "I": "",
    }


def test_lines_that_assign_nothing_are_told_by_number() -> None:
    """A line that is no assignment is a mistake, and its content (perhaps a secret) is not repeated."""
    values, bad = parse_dotenv('A=1\nwhat is this\nB=\'open\n1C=2\nD="open\\"\n=3\n')
    assert (values, bad) == ({"A": "1"}, [2, 3, 4, 5, 6])


def test_the_file_beside_the_configuration_is_read(tmp_path: Path) -> None:
    """.env serves env: references, and --effective says so."""
    (tmp_path / ".env").write_text("S=from-the-file\n")
    (tmp_path / "gateway.toml").write_text('[sources.br]\nadapter = "enviaai"\nsecrets = ["env:S"]\n')
    config = load(tmp_path / "gateway.toml", NOTHING)
    assert config.sources["br"].source.secrets == (b"from-the-file",)
    assert any("S from .env" in line for line in effective(config))


def test_mistakes_beside_the_configuration_are_mistakes(tmp_path: Path) -> None:
    """A bad line of .env, or one that is not text, is told with its place and without its content."""
    (tmp_path / "gateway.toml").write_text("")
    (tmp_path / ".env").write_text("A=1\nhunter2\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "gateway.toml", NOTHING)
    assert caught.value.problems == [f"{tmp_path}/.env:2: is no assignment; write NAME=value, or # before a comment"]
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "gateway.toml", NOTHING)
