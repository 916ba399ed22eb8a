"""What is open at the end of an exploration: found again, or counted and said."""

import sys
from pathlib import Path

import numpy as np
import pytest

from yannctl import Settings, solve_mpqp
from yannctl.mpqp.presolve import presolve
from yannctl.pwa import closure, exploration
from yannctl.pwa.assembly import assemble
from yannctl.pwa.kernels_store import N_ROWS, NEXT

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import REGIONS, problem

THIN = exploration.THIN


def blind(name):
    """An exploration of one region that believes that only thin gaps lie beyond its facets."""
    mpqp = problem(name)
    run = exploration.Exploration(presolve(mpqp), Settings())
    assert run.find_start() == ""
    run.store.counts[NEXT] = run.n_regions
    run.store.neighbour[: run.store.counts[N_ROWS]] = THIN
    run.checked_rows = int(run.store.counts[N_ROWS])
    return mpqp, run


@pytest.mark.parametrize("name", ["P1_N5", "P2_N3"])
def test_open_facets_lead_to_the_regions_beyond_them(name):
    mpqp, run = blind(name)
    closure.repair(run)
    law = assemble(mpqp, run)
    assert (law.status, law.n_regions) == ("complete", REGIONS[name])
    assert law.audit().n_open == 0


def test_facets_that_stay_open_are_counted_and_the_law_is_partial(monkeypatch):
    monkeypatch.setattr(closure, "_probe", lambda *_: None)
    monkeypatch.setattr(closure, "_reach_out", lambda *_: None)
    mpqp, run = blind("P1_N5")
    closure.repair(run)
    law = assemble(mpqp, run)
    assert law.status == "partial"
    assert run.unresolved == law.audit().n_open > 0
    assert law.message.startswith(f"{law.n_regions} regions, {run.unresolved} facets stayed open")


def test_the_solver_and_the_audit_agree_on_what_is_open():
    law = solve_mpqp(problem("P5_n3m10t4"))
    run = exploration.Exploration(law.origin.reduced, Settings())
    assert run.find_start() == ""
    run.run()
    assert len(closure.open_facets(run)[0]) == law.audit().n_open == 0
    np.testing.assert_array_equal(closure.matters(np.array([1e-9, 1e-7, np.nan]), Settings()), [False, True, True])


def test_a_law_read_from_a_file_is_audited_alike(tmp_path):
    law = solve_mpqp(problem("P2_N3"))
    law.save(tmp_path / "law.safetensors")
    read = type(law).load(tmp_path / "law.safetensors")
    assert read.origin is None
    assert read.audit() == law.audit()
    again = tmp_path / "again.safetensors"
    read.save(again)
    assert type(law).load(again).audit() == law.audit()


def test_what_a_file_says_of_facets_is_not_believed(tmp_path):
    """Wrong notes lead to the slower audit, not to a wrong one."""
    law = solve_mpqp(problem("P1_N5"))
    law.save(tmp_path / "law.safetensors")
    read = type(law).load(tmp_path / "law.safetensors")
    centre, neighbour, code = read.facet_notes
    for notes in (
        (np.zeros_like(centre), neighbour, code),
        (centre, neighbour + 10_000, code),
        (centre, np.zeros_like(neighbour), np.zeros_like(code)),
        (centre[:-1], neighbour, code),
    ):
        read.__dict__["facet_notes"] = notes
        assert read.audit().n_open == 0
