"""``gateway schema``: the canonical event, for the languages of those who consume it."""

import rich_click as click


@click.command()
@click.option(
    "--lang",
    type=click.Choice(["json", "ts", "python"]),
    default="json",
    show_default=True,
    help="json: JSON Schema 2020-12. ts: TypeScript types. python: TypedDict classes.",
)
def schema(lang: str) -> None:
    """Print the event's schema or types."""
    from schemas import generate  # msgspec's view of the structs: 30 ms that --help does not need

    make = {"json": generate.json_text, "ts": generate.typescript, "python": generate.python}[lang]
    click.echo(make(), nl=False)
