"""`yannctl verify`: network = law = online QP, for the law or the controller in a file."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .certificates import certificate_rows, trusted_key, verify_certificate
from .chain import links_to_the_chip, write_page
from .console import Output, busy
from .options import Json, Seed, Trusted

if TYPE_CHECKING:
    from torch import nn

    from yannctl import PwaLaw
    from yannctl.yann import Verification

QP_POINTS = 20_000  # random points at which the online QP is solved
LAW_ERROR = 1e-8  # largest |law - QP| relative to the input's range
WORK = 2e12  # multiplications that one network may take; a wide one gets fewer random points, and the table says so
LEGEND = (
    "What was found of what is allowed. Networks: the largest difference of any input, in its own unit. Over whole"
    " regions: proved from corners for every state; not decided where rounding might take a neighbouring region that"
    " differs by so much."
)


def verify(
    file: Annotated[Path, typer.Argument(help="Law file or controller file.", metavar="FILE")],
    points: Annotated[int, typer.Option("--points", min=100, help="Random points to compare at.")] = 1_000_000,
    seed: Seed = 0,
    pil: Annotated[bool, typer.Option("--pil", help="Go on to C and to emulated processors.")] = False,
    page: Annotated[
        Path | None,
        typer.Option("--page", help="HTML page of the chain, JSON beside it; default FILE_proof/proof.html."),
    ] = None,
    trusted: Trusted = None,
    json: Json = False,
) -> None:
    """Check that the law covers its domain, equals the online QP, and that the networks equal the law.

    A law file is checked with every form of network in double and single precision, a controller file with the network
    whose weights it holds; a certificate inside it is proved again, exactly, and a certificate file on its own as well.
    With a trusted key the certificate must carry its signature. Errors are compared at every corner and facet centre,
    at points on facets and at random points, and bounded over whole regions.
    """
    import numpy as np

    from yannctl.assurance import is_certificate_file

    output = Output(json)
    public = trusted_key(trusted)
    if is_certificate_file(file):
        verify_certificate(output, file, public)
        return
    from yannctl.yann.verification import verification_points

    from .checks import compare_at, compare_with_qp, read_law

    law, content = read_law(file)
    with busy(f"looking beyond every facet of {law.n_regions} regions"):
        audit = law.audit()
    with busy(f"law against the online QP at {points} points"):
        random = compare_with_qp(law, points, seed, QP_POINTS)
        corners = compare_at(law, verification_points(law, 0, 0, np.random.default_rng(seed)))
    rows = [
        ["every facet has a neighbour", f"{audit.n_open} open", _verdict(audit.n_open == 0)],
        ["feasible points inside a region", f"{100 * random.coverage:.4f} %", _verdict(random.coverage == 1.0)],
        ["law = online QP, random points", _of_range(random.max_error), _verdict(random.max_error <= LAW_ERROR)],
        [
            f"law = online QP, {corners[1]} corners and facet centres",
            _of_range(corners[0]),
            _verdict(corners[0] <= LAW_ERROR),
        ],
    ]
    found: list[dict[str, Any]] = []
    with busy("compiling networks"):
        networks = _networks(law, content, str(file))
    for name, network in networks:
        if isinstance(network, str):
            found.append({"network": name, "ok": None, "refused": network})
            rows.append([f"network ({name})", network, "none"])
            continue
        with busy(f"network ({name}) against the law"):
            result = _check(network, law, points, seed)
        found.append({"network": name, **result.to_json()})
        rows += _rows(name, result)
    with busy("certificate"):
        proof_rows, proof = certificate_rows(content, str(file), public)
    rows += proof_rows
    chip: list[dict[str, Any]] = []
    if pil:
        with busy("C and emulated processors"):
            chip_rows, chip = links_to_the_chip(file, points, seed)
        rows += chip_rows
    output.table(f"{file}: {law.n_regions} regions", ["check", "found", "verdict"], rows, LEGEND)
    ok = all(row[2] != "FAILS" for row in rows)
    data = {
        "ok": ok,
        "audit_open_facets": audit.n_open,
        "coverage": random.coverage,
        "law_max_error": random.max_error,
        "law_max_error_at_corners": corners[0],
        "networks": found,
        "certificate": proof,
    }
    if pil:
        data["chip"] = chip
        where = file.with_name(f"{file.stem}_proof") / "proof.html" if page is None else page
        write_page(where, file, rows, data)
        output.line(f"law = network = C = processor: written to {where}, data beside it")
    output.result(data)
    if not ok:
        raise typer.Exit(1)


def _networks(law: "PwaLaw", content: Any, name: str) -> "list[tuple[str, nn.Module | str]]":
    """The network a controller file holds, or every form a law can be compiled to; a reason where it cannot."""
    import torch

    from yannctl.errors import ModelError
    from yannctl.export.policy_file import policy_of
    from yannctl.yann import ExtendedActor, LatticeActor, encode_actor

    if content is not None and content.metadata.get("policy"):
        policy = policy_of(content, name)
        base = policy.base if isinstance(policy, ExtendedActor) else policy
        assert isinstance(base, torch.nn.Module)
        return [(f"{content.form}, as saved", base)]
    networks: list[tuple[str, Any]] = []
    for form in ("gather", "five_layer", "lattice"):
        try:
            double = encode_actor(law, form)
        except ModelError as error:  # too large for five layers, or no lattice for a law that jumps
            networks.append((form, error.problem))
            continue
        # To search for the terms of a lattice again would take longer than to round them.
        single = (
            copy.deepcopy(double).float()
            if isinstance(double, LatticeActor)
            else encode_actor(law, form, torch.float32)
        )
        networks += [(f"{form}, double", double), (f"{form}, float", single)]
    return networks


def _check(network: "nn.Module", law: "PwaLaw", points: int, seed: int) -> "Verification":
    from yannctl.yann import verify as verify_actor

    weights = sum(t.numel() for t in (*network.parameters(), *network.buffers()))
    n_random = max(min(points, int(WORK / max(weights, 1))), min(points, QP_POINTS))
    return verify_actor(network, law, n_random=n_random, seed=seed)


def _of_range(error: float) -> str:
    return f"{error:.1e} of {LAW_ERROR:.0e} of the range"


def _rows(name: str, result: "Verification") -> list[list[str]]:
    """What samples found, and what is proved, in the unit of the input."""
    holds = result.max_error <= result.tolerance
    place = "" if holds else f", worst {_place(result.where, result.region)}"
    sampled = f"{result.max_error:.1e} of {result.tolerance:.1e} at {result.n_points} points{place}"
    rows = [[f"network ({name}) = law", sampled, _verdict(holds)]]
    if result.bound is not None:
        verdict = "not decided" if result.bound_holds is None else _verdict(result.bound_holds)
        rows.append(["... over whole regions", _bound_text(result), verdict])
    return rows


def _bound_text(result: "Verification") -> str:
    if result.bound is None or result.bound_holds is None or result.bound == float("inf"):
        return result.bound_message
    place = "" if result.bound_holds or result.bound_region < 0 else f" in region {result.bound_region}"
    return f"<= {result.bound:.1e}{place}"


def _place(where: tuple[float, ...], region: int) -> str:
    inside = f", region {region}" if region >= 0 else ""
    return f"at {[round(value, 6) for value in where]}{inside}"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "FAILS"
