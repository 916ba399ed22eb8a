"""Margins against their definitions: the loop is stable at the margin's edge and unstable beyond it."""

import json

import control
import numpy as np
import pytest

import yannctl
from yannctl.cli.app import main
from yannctl.models import Pendulum
from yannctl.ocp.analysis import loop_margins, poles

OCP = yannctl.Ocp(yannctl.linearise(Pendulum()), Q=[1.0, 0.1], R=[0.05], N=5)


def radius(gain):
    return np.abs(np.linalg.eigvals(OCP.lin.A - gain * OCP.lin.B @ OCP.K)).max()


def test_gain_margins_are_where_the_loop_becomes_unstable():
    margins = loop_margins(OCP)
    low, high = margins.gain_margins
    for edge, inward in ((low, 1.001), (high, 0.999)):
        assert radius(edge * inward) < 1 < radius(edge * (2 - inward))
    assert low * 0.999 <= margins.gain_low < 1 < margins.gain_high <= high * 1.001


def test_disk_margin_is_that_of_python_control():
    loop = control.ss(OCP.lin.A, OCP.lin.B, OCP.K, 0, OCP.lin.dt)
    omega = np.geomspace(1e-3, np.pi / OCP.lin.dt, 4000)
    S = 1 / (1 + control.frequency_response(loop, omega).complex)
    assert loop_margins(OCP).disk == pytest.approx(1 / np.abs(S - 0.5).max(), rel=1e-3)


def test_a_whole_period_of_delay_is_borne_if_the_margin_says_so():
    for R in (0.001, 0.05, 5.0):
        ocp = yannctl.Ocp(OCP.lin, Q=[1.0, 0.1], R=[R], N=5)
        periods = int(loop_margins(ocp).delay / OCP.lin.dt)
        for n, stable in ((periods, True), (periods + 1, False)):
            A = np.zeros((2 + n, 2 + n))
            A[:2, :2] = OCP.lin.A
            A[:2, -1 if n else 2 :] = OCP.lin.B if n else 0
            row = np.hstack([-ocp.K, np.zeros((1, n))])
            if n == 0:
                A = OCP.lin.A - OCP.lin.B @ ocp.K
            else:
                A[2] = row
                A[3:, 2:-1] = np.eye(n - 1)
            assert (np.abs(np.linalg.eigvals(A)).max() < 1) == stable


def test_two_inputs_get_the_disk_alone():
    lin = yannctl.LinearModel([[1.1, 0.2], [0.0, 0.9]], np.eye(2), dt=0.1)
    ocp = yannctl.Ocp(lin, Q=np.eye(2), R=np.eye(2), N=3)
    margins = loop_margins(ocp)
    assert margins.gain_margins is None
    rng = np.random.default_rng(0)
    for _ in range(200):
        gains = np.diag(rng.uniform(margins.gain_low, margins.gain_high, 2))
        assert np.abs(np.linalg.eigvals(lin.A - lin.B @ gains @ ocp.K)).max() < 1
    opened, closed = poles(ocp)
    np.testing.assert_allclose(opened, [1.1, 0.9])
    assert np.abs(closed).max() < 1


def test_analyse_writes_figure_and_json(tmp_path, capsys):
    path = tmp_path / "problem.toml"
    path.write_text(
        "[model]\nA = [[1.0, 1.0], [0.0, 1.0]]\nB = [[0.5], [1.0]]\ndt = 1.0\n[weights]\nQ = [[1.0, 0.0], [0.0, 1.0]]\n"
        "R = [[0.1]]\nN = 3\n[bounds]\nx_min = [-5.0, -5.0]\nx_max = [5.0, 5.0]\nu_min = [-1.0]\nu_max = [1.0]\n"
    )
    with pytest.raises(SystemExit) as stop:
        main(["analyse", str(path), "--out", str(tmp_path / "a.png"), "--json"])
    data = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not stop.value.code
    assert data["stable"]
    assert 0 < data["terminal_share"] < data["feasible_share"] < 1
    assert data["margins"]["disk"] > 0.4
    assert (tmp_path / "a.png").stat().st_size > 10_000
