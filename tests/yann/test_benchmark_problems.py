"""Every form on every benchmark problem of at most 2000 regions, many of them degenerate or badly scaled on purpose."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from yannctl import solve_mpqp
from yannctl.yann import FiveLayerActor, encode_actor
from yannctl.yann.verification import verification_points

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import problem

QUICK = ("P1_N5", "P1_N10", "P1_N20", "H_facet", "H_licq", "H_twice", "H_units", "H_long", "H_deadbeat")
MIDDLE = ("P3_N5", "P2_N3", "P5_n3m10t4", "P5_n5m20t3", "H_twins")  # five layers are slow at this size
SLOW = ("P2_N5", "P3_N10", "P4_nx4_N3", "P5_n5m20t6", "H_weak")
CHUNK = 8192


@cache
def solved(name):
    return solve_mpqp(problem(name))


def outputs(actor, points, dtype):
    """Outputs, and how many points no indicator of a five-layer network holds, in one pass of its wide layers."""
    lost = []
    if isinstance(actor, FiveLayerActor):
        actor.first_match.register_forward_hook(lambda layer, held, out: lost.append((held[0].sum(dim=1) < 1).sum()))
    with torch.no_grad():
        parts = [actor(part.to(dtype)).double() for part in torch.as_tensor(points).split(CHUNK)]
    return torch.cat(parts).numpy(), sum(map(int, lost))


def check(name, form, n_random, n_facet):
    law = solved(name)
    assert law.n_regions <= 2000
    drawn = verification_points(law, n_random, n_facet, np.random.default_rng(0))
    for dtype in (torch.float64, torch.float32):
        actor = encode_actor(law, form, dtype)
        points = torch.as_tensor(drawn).to(dtype).double().numpy()
        wanted = law(points)
        inside = np.isfinite(wanted).all(axis=1)
        points, wanted = points[inside], wanted[inside]
        assert len(points) > n_random / 4
        found, lost = outputs(actor, points, dtype)
        error = np.abs(found - wanted)
        if dtype == torch.float64:
            share = (error / np.ptp(wanted, axis=0)).max() / 1e-9
        else:
            region = law.locate(points)
            size = np.einsum("boi,bi->bo", np.abs(law.F[region]), np.abs(points)) + np.abs(law.g[region])
            share = error.max() / (8 * np.finfo(np.float32).eps * size.max())
        # `pytest -s` shows the figures, a line each.
        print(f"\n{name} ({law.n_regions} regions), {form}, {dtype}: {share:.2g} of the limit at {len(points)} points")
        assert lost == 0
        assert share <= 1


@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
@pytest.mark.parametrize("name", QUICK)
def test_forms_are_the_law(name, form):
    check(name, form, 20_000, 10_000)


@pytest.mark.parametrize("form", ["gather", "lattice"])
@pytest.mark.parametrize("name", ["P3_N5", "P5_n3m10t4", "H_twins"])
def test_forms_are_the_law_of_several_outputs(name, form):
    check(name, form, 10_000, 5_000)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["gather", "lattice", "five_layer"])
@pytest.mark.parametrize("name", [*QUICK, *MIDDLE, *SLOW])
def test_forms_are_the_law_at_many_points(name, form):
    check(name, form, 100_000, 20_000)
