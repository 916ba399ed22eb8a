"""Options that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last on standard output.")]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Same seed, machine and threads: same numbers.")]
Short = Annotated[bool, typer.Option("--short", help="A form of about a minute; the exit code is the verdict.")]
Trusted = Annotated[
    str | None,
    typer.Option("--trusted", help="Public Ed25519 key that must have signed the certificate: a file, or 64 digits."),
]
