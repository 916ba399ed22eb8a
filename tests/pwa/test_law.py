"""The law as a datum: evaluation rule, files, merging, plots, presolve."""

import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from yannctl import FileFormatError, LinearModel, ModelError, MpQp, Ocp, PwaLaw, solve_mpqp
from yannctl.mpqp.presolve import presolve

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import problem

mpl.use("Agg")


def saturation(**changes):
    """u = clip(-2 theta, -1, 1) on [-1, 1], by hand."""
    fields = {
        "row_start": np.array([0, 2, 4, 6]), "H": np.array([[1.0], [-1], [1], [-1], [1], [-1]]),
        "k": np.array([-0.5, 1, 0.5, 0.5, 1, -0.5]), "F": np.array([[[0.0]], [[-2.0]], [[0.0]]]),
        "g": np.array([[1.0], [0.0], [-1.0]]), "theta_min": np.array([-1.0]), "theta_max": np.array([1.0]),
    }  # fmt: skip
    return PwaLaw(**(fields | changes))


@pytest.fixture(scope="module")
def law():
    return solve_mpqp(problem("P1_N5"))


def rule(law, theta):
    """The evaluation rule, read literally."""
    out = []
    for t in theta:
        worst = []
        for s, e in zip(law.row_start[:-1], law.row_start[1:], strict=True):
            rows = []
            for row in range(s, e):
                total = law.H[row, 0] * t[0]
                for j in range(1, law.ntheta):
                    total = total + law.H[row, j] * t[j]
                rows.append(total - law.k[row])
            worst.append(max(rows))
        i = int(np.argmin(worst))
        u = []
        for r in range(law.n_out):
            total = law.F[i, r, 0] * t[0]
            for j in range(1, law.ntheta):
                total = total + law.F[i, r, j] * t[j]
            u.append(total + law.g[i, r])
        out.append(u if worst[i] <= law.settings.locate_tolerance else [np.nan] * law.n_out)
    return np.array(out)


def test_evaluation_follows_the_rule_bit_for_bit(law):
    theta = np.random.default_rng(0).uniform(-6, 6, (300, 2))
    np.testing.assert_array_equal(law(theta), rule(law, theta))
    inside = law.locate(theta) >= 0
    np.testing.assert_array_equal(law.extrapolate(theta)[inside], law(theta)[inside])
    assert np.isfinite(law.extrapolate(theta)).all()


def test_shapes_ties_and_points_outside():
    hand = saturation()
    assert hand([0.2]).shape == (1,)
    assert hand.locate([0.2]).shape == ()
    assert hand(np.zeros((4, 5, 1))).shape == (4, 5, 1)
    assert hand.value(np.zeros((4, 5, 1))).shape == (4, 5)
    assert hand.locate([-0.5]) == 0
    np.testing.assert_array_equal(hand.locate([[1.1], [np.nan], [-0.7], [0.0], [0.7]]), [-1, -1, 0, 1, 2])
    assert np.isnan(hand([[1.1], [np.nan], [np.inf]])).all()
    with pytest.raises(ModelError, match="theta"):
        hand([1.0, 2.0])


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("far", "real numbers"), (["1", "2"], "real numbers"), ([1.0, None], "real numbers"), ([1j, 0], "real numbers"),
        ([[1, 2], [3]], "rectangular"), (np.array(1.0), "shape"), ([1.0, 2.0, 3.0], "shape")
    ],
)  # fmt: skip
def test_points_that_are_none_are_refused(law, bad, text):
    for call in (law, law.locate, law.value, law.extrapolate, law.multipliers):
        with pytest.raises(ModelError, match=f"theta: .*{text}"):
            call(bad)


def without(law, region):
    """The law with one region taken out."""
    keep = np.setdiff1d(np.arange(law.n_regions), [region])
    rows = np.concatenate([np.arange(law.row_start[i], law.row_start[i + 1]) for i in keep])
    starts = np.concatenate([[0], np.cumsum(np.diff(law.row_start)[keep])])
    return replace(
        law, row_start=starts, H=law.H[rows], k=law.k[rows], F=law.F[keep], g=law.g[keep], P=law.P[keep], p=law.p[keep],
        c=law.c[keep], active=tuple(law.active[i] for i in keep),
    )  # fmt: skip


def test_partial_laws_answer_online_when_asked_to(law):
    part = without(law, int(law.locate([0.0, 0.0]))).with_status("partial", "stopped")
    theta = np.random.default_rng(0).uniform(-5, 5, (400, 2))
    full = law(theta)
    missing = np.isnan(part(theta)).any(axis=1)
    assert (missing & ~np.isnan(full).any(axis=1)).sum() > 30
    np.testing.assert_array_equal(part.locate(theta[missing]), -1)
    np.testing.assert_allclose(part(theta, online=True), full, atol=1e-8)
    np.testing.assert_array_equal(part(theta, online=True)[~missing], part(theta)[~missing])
    assert part(theta[:6].reshape(2, 3, 2), online=True).shape == (2, 3, 1)
    assert np.isnan(part([np.nan, 0.0], online=True)).all()
    with pytest.raises(ModelError, match="online"):
        saturation()([0.0], online=True)


def test_rows_have_unit_norm_in_scaled_parameters():
    law = solve_mpqp(problem("H_units"))
    half = (law.theta_max - law.theta_min) / 2
    np.testing.assert_allclose(np.linalg.norm(law.H * half, axis=1), 1.0, rtol=1e-12)


def test_regions_have_centre_radius_and_vertices(law):
    region = law.regions[0]
    assert len(law.regions) == 31
    assert (region.H @ region.centre <= region.k).all()
    assert (law.locate(region.vertices * (1 - 1e-6) + region.centre * 1e-6) == 0).all()
    scaled = np.abs(region.H @ region.centre - region.k).min()
    assert scaled == pytest.approx(region.radius, rel=1e-6)
    assert [r.index for r in law.regions[-2:]] == [29, 30]
    with pytest.raises(IndexError):
        law.regions[31]
    square = saturation().regions[1]
    np.testing.assert_allclose(np.sort(square.vertices[:, 0]), [-0.5, 0.5], atol=1e-12)
    assert square.radius == pytest.approx(0.5)


def test_wrong_arrays_raise():
    with pytest.raises(ModelError, match="row_start"):
        saturation(row_start=np.array([0, 2, 4, 5]))
    with pytest.raises(ModelError, match=r"k: .*finite"):
        saturation(k=np.array([np.nan, 1, 0.5, 0.5, 1, -0.5]))
    with pytest.raises(ModelError, match="status"):
        saturation(status="fine")
    with pytest.raises(ModelError, match="program"):
        saturation().multipliers([0.0])
    with pytest.raises(ModelError, match="program"):
        saturation().audit()


def test_files_keep_everything(law, tmp_path):
    path = tmp_path / "law.safetensors"
    law.save(path)
    copy = PwaLaw.load(path)
    theta = np.random.default_rng(1).uniform(-5, 5, (200, 2))
    np.testing.assert_array_equal(copy(theta), law(theta))
    np.testing.assert_array_equal(copy.value(theta), law.value(theta))
    np.testing.assert_array_equal(copy.multipliers(theta), law.multipliers(theta))
    assert (copy.active, copy.status, copy.message, copy.settings) == (
        law.active,
        law.status,
        law.message,
        law.settings,
    )
    assert (copy.theta_names, copy.out_names) == (law.theta_names, law.out_names)
    saturation().save(path)
    assert PwaLaw.load(path).mpqp is None
    assert [file.name for file in tmp_path.iterdir()] == ["law.safetensors"]


@pytest.mark.parametrize("where", [10, 0.3, 0.6, -20])
def test_damaged_files_are_refused(law, tmp_path, where):
    path = tmp_path / "law.safetensors"
    law.save(path)
    data = bytearray(path.read_bytes())
    data[int(where * len(data)) if isinstance(where, float) else where] ^= 0x11
    path.write_bytes(bytes(data))
    with pytest.raises(FileFormatError):
        PwaLaw.load(path)


def test_foreign_truncated_and_old_files_are_refused(law, tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    from yannctl.pwa import files

    path = tmp_path / "law.safetensors"
    save_file({"a": np.zeros(2)}, path)
    with pytest.raises(FileFormatError, match="not a law"):
        PwaLaw.load(path)
    law.save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileFormatError, match="safetensors"):
        PwaLaw.load(path)
    monkeypatch.setattr(files, "VERSION", 0)
    law.save(path)
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="version 0"):
        PwaLaw.load(path)


def test_file_errors_name_the_path_first(law, tmp_path):
    missing = tmp_path / "none.safetensors"
    with pytest.raises(FileFormatError) as caught:
        PwaLaw.load(missing)
    assert str(caught.value).startswith(f"{missing}: no such file")
    with pytest.raises(FileFormatError) as caught:
        PwaLaw.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: is a folder")
    missing.write_bytes(b"")
    with pytest.raises(FileFormatError) as caught:
        PwaLaw.load(missing)
    assert str(caught.value).startswith(f"{missing}: ")
    with pytest.raises(OSError, match="Not a directory") as caught:
        law.save(missing / "law.safetensors")
    assert caught.value.filename == str(missing / "law.safetensors")


def test_repr_is_one_line_and_counts_nothing():
    hand = saturation()
    assert repr(hand) == "PwaLaw(complete, 3 regions, 1 -> 1, (theta_0) -> (u_0))"
    assert hand.n_laws == 3
    assert repr(hand) == "PwaLaw(complete, 3 regions, 3 laws, 1 -> 1, (theta_0) -> (u_0))"


def test_what_is_no_program_is_refused_with_the_way_out():
    ocp = Ocp(LinearModel(np.eye(1), np.eye(1)), np.eye(1), np.eye(1), 2, x_min=[-1.0], x_max=[1.0])
    with pytest.raises(ModelError, match=r"mpqp: expected an MpQp, got Ocp; call condense"):
        solve_mpqp(ocp)
    with pytest.raises(ModelError, match=r"mpqp: expected an MpQp, got dict; make one"):
        solve_mpqp({})


@pytest.mark.parametrize(("name", "laws", "most"), [("P1_N10", 7, 11), ("P2_N3", 69, 253), ("H_twins", 49, 121)])
def test_merging_keeps_the_law(name, laws, most, tmp_path):
    full = solve_mpqp(problem(name))
    merged = full.merged()
    assert full.n_laws == merged.n_laws == laws
    assert merged.n_regions <= most
    theta = np.random.default_rng(3).uniform(full.theta_min, full.theta_max, (3000, full.ntheta))
    np.testing.assert_array_equal(full.locate(theta) >= 0, merged.locate(theta) >= 0)
    np.testing.assert_array_equal(merged(theta), full(theta))
    np.testing.assert_array_equal(merged.value(theta), full.value(theta))
    np.testing.assert_array_equal(merged.multipliers(theta[:50]), full.multipliers(theta[:50]))
    assert merged.audit().n_open == 0
    merged.save(tmp_path / "merged")
    back = PwaLaw.load(tmp_path / "merged")
    np.testing.assert_array_equal(back.value(theta), full.value(theta))
    assert back.merged().n_regions == merged.n_regions
    assert back.merged().unmerged.n_regions == full.n_regions


def tiles(*corners):
    """A law of the rectangles (x0, y0, x1, y1), all with one gain, on [0, 3]^2."""
    H = np.vstack([np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])] * len(corners)) / 1.5
    k = np.concatenate([[x1, -x0, y1, -y0] for x0, y0, x1, y1 in corners]) / 1.5
    n = len(corners)
    return PwaLaw(
        row_start=4 * np.arange(n + 1), H=H, k=k, F=np.ones((n, 1, 2)), g=np.zeros((n, 1)), theta_min=np.zeros(2),
        theta_max=np.full(2, 3.0),
    )  # fmt: skip


def test_merging_joins_what_no_pair_joins():
    pinwheel = ((0, 0, 2, 1), (2, 0, 3, 2), (1, 2, 3, 3), (0, 1, 1, 3), (1, 1, 2, 2))
    assert tiles(*pinwheel).merged().n_regions == 1
    holed = tiles(*pinwheel[:4]).merged()  # the middle is missing
    assert holed.n_regions == 4
    assert np.isnan(holed([1.5, 1.5])).all()
    thin = tiles((0, 0, 1, 1), (1 + 1e-7, 0, 2, 1)).merged()  # so is a strip
    assert thin.n_regions == 2
    ell = tiles((0, 0, 1, 1), (1, 0, 2, 1), (0, 1, 1, 2)).merged()
    assert ell.n_regions == 2


def test_audit_finds_a_region_that_was_taken_out(law):
    holed = without(law, 4)
    result = holed.audit()
    assert result.n_open > 0
    np.testing.assert_allclose(result.radii, law.regions[4].radius, rtol=1e-6)
    assert result.n_checked == len(holed.k)


def test_presolve_keeps_what_matters():
    twice = presolve(problem("H_twice"))
    once = presolve(problem("P1_N5"))
    np.testing.assert_array_equal(twice.rows, once.rows)
    np.testing.assert_allclose(np.linalg.norm(once.M, axis=1), 1.0)
    assert np.abs(once.D).max() <= 1.0 + 1e-12
    base = problem("P1_N5")
    wide = MpQp(
        base.H, base.f, base.F, np.vstack([base.A, np.ones(5)]), np.append(base.b, 5.1), np.vstack([base.B, [0, 0]]),
        base.theta_min, base.theta_max, 1,
    )  # fmt: skip
    np.testing.assert_array_equal(presolve(wide).rows, once.rows)


def test_equalities_without_freedom_or_that_depend_on_each_other():
    """z0 + z1 = theta and z0 = z1 leave nothing free; a third row that follows changes nothing."""
    A = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1], [2, 0], [-2, 0]])
    B = np.array([[1], [-1], [0], [0], [1], [-1]])
    theta = np.linspace(-1, 1, 5)[:, None]
    for rows in (4, 6):
        law = solve_mpqp(MpQp(np.eye(2), 0, np.zeros((2, 1)), A[:rows], np.zeros(rows), B[:rows], [-1], [1], 2))
        assert law.n_regions == 1
        np.testing.assert_allclose(law(theta), np.hstack([theta, theta]) / 2, atol=1e-14)
    against = solve_mpqp(MpQp(np.eye(2), 0, np.zeros((2, 1)), A, [0, 0, 0, 0, 1, -1], B, [-1], [1], 2))
    assert against.status == "infeasible"
    assert "equality rows [0, 2, 4]" in against.message


def test_plots_draw_every_region(law):
    import matplotlib.pyplot as plt

    from yannctl.pwa.plots import plot_regions, plot_surface, plot_value, slice_polygons

    figure, axes = plot_regions(law, trajectory=np.array([[-4.0, 2.0], [-2.0, 2.0], [0.0, 0.0]]))
    assert len(axes.collections[0].get_paths()) == 31
    assert axes.get_xlabel() == law.theta_names[0]
    figure.canvas.draw()
    surface, axes = plot_surface(law)
    surface.canvas.draw()
    assert axes.get_zlabel() == law.out_names[0]
    merged = law.merged()
    value, axes = plot_value(merged)
    value.canvas.draw()
    assert axes.get_zlabel() == "cost"
    plt.close("all")
    polygons, _ = slice_polygons(law)
    area = sum(
        0.5 * abs(np.cross(np.c_[p, 0 * p[:, :1]], np.c_[np.roll(p, -1, 0), 0 * p[:, :1]])[:, 2].sum())
        for p in polygons
    )
    points = np.random.default_rng(0).uniform(-5, 5, (20_000, 2))
    assert area / 100 == pytest.approx((law.locate(points) >= 0).mean(), abs=0.01)
    with pytest.raises(ModelError, match="plane"):
        plot_regions(saturation())
    with pytest.raises(ModelError, match="parameters"):
        plot_regions(law, parameters=(0, 2))


def test_the_cost_is_drawn_where_it_is(law):
    from yannctl.pwa.plots import slice_polygons, value_faces

    faces = np.array(value_faces(law))
    assert len(faces) == 16 * sum(len(polygon) for polygon in slice_polygons(law)[0])
    middle = faces[:, :, :2].mean(axis=1)
    assert (law.locate(middle) >= 0).all()
    corners = faces[:, 0] + 1e-7 * (np.column_stack([middle, faces[:, 0, 2]]) - faces[:, 0])
    np.testing.assert_allclose(law.value(corners[:, :2]), corners[:, 2], rtol=1e-4, atol=1e-4)


def test_slices_of_four_parameters_agree_with_the_law():
    from yannctl.pwa.plots import slice_polygons

    law = solve_mpqp(problem("P2_N3"))
    fixed = np.array([0.3, 0.5, 0.0, 0.0])
    polygons, numbers = slice_polygons(law, (2, 3), fixed)
    for polygon, number in zip(polygons, numbers, strict=True):
        theta = fixed.copy()
        theta[2:] = polygon.mean(axis=0)
        assert law.law_index[law.locate(theta)] == number
