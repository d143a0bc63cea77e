"""``gateway backup`` and ``gateway restore``: a copy of the embedded store while it runs, and the way back."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from gateway.cli.common import (
    Exit,
    Refusal,
    config_option,
    console,
    is_interactive,
    json_option,
    load_config,
    print_json,
)

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.store.backup import Contents, Progress

_ELSEWHERE = (
    "the store is not the embedded one, so its own tools copy it: for Redis and Valkey a copy of its appendonlydir as "
    "their documentation of AOF backups says, or BGSAVE and the RDB file\n"
    "copy {data} too, if it is there: it has the secrets of subscribers made through the API"
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
@json_option
def backup(*, folder: Path, config_path: Path, as_json: bool) -> None:
    """Copy the embedded store into FOLDER, which must be new or empty, while the gateway runs.

    Every event acknowledged before the copy begins is in it. So are the spool, the secrets of subscribers made through
    the API and admin_token: keep it as safe as the data directory. The configuration and .env are not in it.
    """
    config = load_config(config_path)
    data_dir = _data_dir(config)
    from gateway.store.backup import make_backup
    from gateway.store.opening import gateway_version
    from schemas.timestamps import format_ms

    with _progress() as progress:
        contents = make_backup(
            data_dir,
            config.store.spool,
            folder,
            made_at=format_ms(time.time_ns() // 1_000_000),
            version=gateway_version(),
            config=config.path,
            progress=progress,
        )
    _tell(contents, as_json=as_json, done=True)
    if not as_json:
        console().print(f"not in it: {config.path} and its .env; keep copies of them", soft_wrap=True)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do it. Without this it says what is in the backup, and asks.")
@click.option("--dry-run", is_flag=True, help="Only say what is in it, and whether it can be put there.")
@config_option
@json_option
def restore(*, folder: Path, yes: bool, dry_run: bool, config_path: Path, as_json: bool) -> None:
    """Put the backup in FOLDER into the data directory of the configuration, which must be empty and unused.

    Every file is compared with its checksum first. Start the gateway afterwards, then: gateway audit.
    """
    config = load_config(config_path)
    data_dir = _data_dir(config)
    from gateway.store.backup import check_target, read_backup, restore_backup

    contents = read_backup(folder)
    check_target(data_dir, config.store.spool, contents)
    if dry_run or not yes:
        _tell(contents, as_json=as_json, done=False)
        if dry_run:
            sys.exit(Exit.FINE)
        if not is_interactive():
            raise Refusal("nothing was changed; add --yes to do it", Exit.FINDINGS)
        click.confirm(f"Put it into {data_dir}?", abort=True)
    with _progress() as progress:
        restore_backup(folder, data_dir, config.store.spool, progress)
    if as_json:
        _tell(contents, as_json=True, done=True)
    else:
        console().print(f"{data_dir} holds it now; start the gateway, then: gateway audit", soft_wrap=True)


def _data_dir(config: "Config") -> Path:
    if config.store.data_dir is None:
        raise Refusal(_ELSEWHERE.format(data=config.data_dir), Exit.CONFIG)
    return config.store.data_dir


def _tell(contents: "Contents", *, as_json: bool, done: bool) -> None:
    if as_json:
        found: dict[str, Any] = {name: getattr(contents, name) for name in ("made_at", "gateway", "config", "bytes")}
        print_json({**found, "files": [each.path for each in contents.files], "done": done})
        return
    out = console()
    out.print(
        f"a backup of {contents.made_at}, by gateway {contents.gateway}: {len(contents.files)} files, "
        f"{contents.bytes} bytes",
        soft_wrap=True,
    )
    for each in contents.files:
        out.print(f"  {each.path:<48}{each.bytes:>14}", soft_wrap=True)


@contextmanager
def _progress() -> "Iterator[Progress]":
    if not is_interactive():
        yield lambda _bytes: None
        return
    from rich.progress import BarColumn, DownloadColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda more: bars.advance(task, more)
