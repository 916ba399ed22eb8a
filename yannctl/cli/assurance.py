"""`yannctl certify` and `yannctl falsify`: prove a safe set for a plant, and try to break it."""

import os
import time
from functools import cache
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any

import typer

from yannctl.errors import ModelError
from yannctl.files import write_whole

from .console import Output, plain
from .options import Json, Seed, Short

SHORT_STEPS, FULL_STEPS = 10_000, 1_000_000
EPISODE_STEPS = 200


def certify(
    plant: Annotated[
        str,
        typer.Argument(
            help="pendulum-upright, pendulum-encoder, robot-corridor, reactor-point, hot-water-tank, reactor-limit, "
            "robot-stop; or all."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Certificate file, or a folder for 'all'.")] = Path(
        "runs/certificates"
    ),
    key: Annotated[Path | None, typer.Option("--key", help="Private key file (32 bytes); made when missing.")] = None,
    into: Annotated[Path | None, typer.Option("--into", help="Controller file that shall carry it too.")] = None,
    sample_time: Annotated[
        float | None, typer.Option("--sample-time", help="Another sample period of a polytopic set [its unit].")
    ] = None,
    json: Json = False,
) -> None:
    """Compute a robust control invariant set for a plant's model, prove it and write the certificate.

    The proof speaks about sampling instants and about the stated bounds of state, input, parameters and errors; that a
    plant stays within them is an assumption. Where there is no set, the error says which of sample time, box,
    parameters or sensor to change, and to what.
    """
    from yannctl.assurance import ANALYTIC, CLAIM, DESIGNS, load_certificate, public_key, save_certificate
    from yannctl.export import attach_certificate

    output = Output(json)
    secret = _key(key) if key is not None else None
    if secret is not None and key is not None:
        public = key.with_name(f"{key.name}.pub")
        write_whole(public, public_key(secret))
        output.line(f"public key for `yannctl verify --trusted`: {public}")
    names = [*DESIGNS, *ANALYTIC] if plant == "all" else [plant]
    if into is not None and len(names) != 1:
        raise ModelError("--into", "a controller carries one certificate", remedy="name one plant")
    rows, data = [], {}
    for name in names:
        start = time.perf_counter()
        certificate = _certified(name, sample_time)
        seconds = time.perf_counter() - start
        path = out if out.suffix else out / f"{name}.certificate"
        save_certificate(path, certificate, secret)
        start = time.perf_counter()
        load_certificate(path, public_key(secret) if secret is not None else None)
        again = time.perf_counter() - start
        if into is not None:
            attach_certificate(into, path.read_bytes())
        found = {"seconds": seconds, "check_seconds": again, "file": path, **_figures(certificate)}
        data[name] = found
        share = "" if found["share"] is None else f"{100 * found['share']:.1f} %"
        rows.append([
            name, share, *(str(found.get(key, "")) for key in ("facets", "filter_rows", "n_cert", "inequalities")),
            f"{again:.1f}",
        ])  # fmt: skip
        output.line(f"{name}: {certificate.statement.note}\nwritten to {path}")
    columns = ["plant", "share of the box", "facets", "filter rows", "N_cert", "statements", "load and re-check [s]"]
    output.table("certificates, every statement decided exactly or in integer intervals", columns, rows, CLAIM)
    output.result({"ok": True, "claim": CLAIM, "certificates": data})


def _certified(name: str, sample_time: float | None) -> Any:
    """The certificate of a name, or the reason why there is none."""
    from yannctl.assurance import ANALYTIC, DESIGNS, certify_design

    if name in ANALYTIC:
        if sample_time is not None:
            raise ModelError("--sample-time", f"{name} keeps its set at every sample time", remedy="leave it out")
        return ANALYTIC[name]()
    if name not in DESIGNS:
        known = ", ".join([*DESIGNS, *ANALYTIC])
        raise ModelError("plant", f"no design {name!r}", remedy=f"use one of {known}")
    return certify_design(name, sample_time)


def _figures(certificate: Any) -> dict[str, Any]:
    """What the table and the JSON say about a certificate."""
    from yannctl.assurance import AnalyticCertificate

    said = {
        "n_cert": certificate.n_cert, "inequalities": certificate.check().n_checked,
        "note": certificate.statement.note, "share": None,
    }  # fmt: skip
    if isinstance(certificate, AnalyticCertificate):
        return {**said, "form": certificate.form}
    return {
        **said, "form": "polytope", "share": certificate.share, "facets": len(certificate.found.h),
        "models": len(certificate.inclusion), "filter_rows": len(certificate.rows.kept),
    }  # fmt: skip


def falsify(
    plant: Annotated[str, typer.Option("--plant", help="One of the certified loops; 'all' for each.")] = "all",
    steps: Annotated[int, typer.Option("--steps", min=1000, help="Steps of each attack.")] = FULL_STEPS,
    short: Short = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file of all attacks so far.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the repelled attacks that --out holds already.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Attack the filtered loops with hostile learners and the worst parameters, and count what they achieve.

    Attacked are the plants' simulated models, within the bounds that the certificates state.
    Four attackers choose step by step; two lower the margin of whole runs, by CMA-ES (where the package cma is
    installed) and along its gradient (where torch is).
    """
    from tqdm import tqdm

    from yannctl.assurance import TARGETS

    output = Output(json)
    if resume and out is None:
        raise ModelError("--resume", "there is no file to go on with", remedy="name it with --out")
    names = list(TARGETS) if plant == "all" else [plant]
    steps = SHORT_STEPS if short else steps
    policies = _policies(output)
    found = _earlier(out, steps, seed) if resume and out is not None else []
    done = {(attack["plant"], attack["policy"]) for attack in found}
    jobs = [(name, policy) for name in names for policy in policies if (name, policy) not in done]
    for name, policy in tqdm(jobs, disable=None, leave=False):
        found.append(_attacked(name, policy, steps, seed))
        if out is not None:
            data = {"ok": all(attack["ok"] for attack in found), "seed": seed, "attacks": found}
            out.parent.mkdir(parents=True, exist_ok=True)
            write_whole(out, dumps(plain(data), indent=1).encode() + b"\n")
    columns = ["loop", "attacker", "v/e/i", "bare", "cut", "/episode", "/step", "verdict"]
    legend = (
        "v/e/i: violated limits, exits from the set, states without a safe input; bare: episodes lost without the "
        "filter; cut: inputs the filter changed; /episode, /step: upper 95 % bounds of the rate of violations. What is "
        "attacked is the simulated model with parameters at the ends of their stated intervals, not a plant."
    )
    ok = all(attack["ok"] for attack in found)
    output.table(f"Attacks of {steps} steps", columns, [_cells(attack) for attack in found], legend)
    output.result({"ok": ok, "seed": seed, "attacks": found})
    if not ok:
        raise typer.Exit(1)


def _policies(output: Output) -> tuple[str, ...]:
    """The attackers that this installation can run."""
    from yannctl.assurance import GRADIENT, POLICIES, SEARCH, can_follow_gradients, can_search

    chosen: list[str] = list(POLICIES)
    for name, can, package in ((SEARCH, can_search(), "cma"), (GRADIENT, can_follow_gradients(), "torch")):
        if can:
            chosen.append(name)
        else:
            output.line(f"attack {name!r} is left out: the package {package} is not installed")
    return tuple(chosen)


@cache
def _loop(name: str) -> Any:
    """A loop with its set, proved and its filter solved once for all attackers."""
    from yannctl.assurance import target

    return target(name)


def _attacked(name: str, policy: str, steps: int, seed: int) -> dict[str, Any]:
    """Attack one loop by one attacker, and say what came of it."""
    from yannctl.assurance import GRADIENT, SEARCH, attack, gradient_attack, search_attack

    loop = _loop(name)
    if policy in {SEARCH, GRADIENT}:
        outcome = (search_attack if policy == SEARCH else gradient_attack)(loop, steps, seed)
    else:
        outcome = attack(loop, policy, steps, EPISODE_STEPS, seed)
    episode, step = outcome.upper_bounds()
    return {
        "plant": name, **vars(outcome), "ok": outcome.ok, "upper_95_episode": episode, "upper_95_step": step,
        "simulated_time": outcome.steps * loop.dt,
    }  # fmt: skip


def _earlier(out: Path, steps: int, seed: int) -> list[dict[str, Any]]:
    """The attacks of a file that were as long, had the same seed and were repelled."""
    if not out.exists():
        return []
    try:
        data = loads(out.read_bytes())
        same = data["seed"] == seed
        long = [attack for attack in data["attacks"] if attack["steps"] > steps - EPISODE_STEPS]
        return [attack for attack in long if same and attack["ok"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("--out", f"{out} holds no attacks ({error})", remedy="name another file") from error


def _cells(attack: dict[str, Any]) -> list[str]:
    """One row of the table."""
    broken = attack["violations"] or attack["exits"] or attack["infeasible"]
    return [
        attack["plant"], attack["policy"], f"{attack['violations']}/{attack['exits']}/{attack['infeasible']}",
        f"{100 * attack['unfiltered_violated']:.0f} %", f"{100 * attack['changed']:.0f} %",
        f"{attack['upper_95_episode']:.1e}", f"{attack['upper_95_step']:.1e}",
        "BROKEN" if broken else "holds" if attack["ok"] else "VOID",
    ]  # fmt: skip


def _key(path: Path) -> bytes:
    """Read a private key, or make one in a file only its owner can read."""
    from yannctl.assurance import new_key

    if path.exists():
        key = path.read_bytes()
        if len(key) != 32:
            raise ModelError("--key", f"{path} has {len(key)} bytes, expected 32", remedy="name a new file to make one")
        return key
    path.parent.mkdir(parents=True, exist_ok=True)
    key = new_key()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key
