"""Write `docs/networks.md` and its picture: the network of a law with seven regions, layer by layer, with numbers.

    python docs/networks.py

Every number on the page is computed here, and a test compares the page with what this program writes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm

from yannctl import LinearModel, Ocp, PwaLaw, condense, solve_mpqp
from yannctl.yann import encode_actor, error_bound, extend, verify
from yannctl.yann.features import Bounds

FOLDER = Path(__file__).resolve().parent
STATE = np.array([0.15, -0.4])


def clipped_pendulum() -> PwaLaw:
    """Solve the pendulum of the published network: 2 steps of 0.05 s, |angle| <= 2, |speed| <= 8, |torque| <= 2."""
    rate = np.array([[0.0, 1.0, 0.0], [15.0, 0.0, 3.0], [0.0, 0.0, 0.0]])  # angle, speed, torque held over a step
    step = expm(0.05 * rate)
    lin = LinearModel(step[:2, :2], step[:2, 2:], dt=0.05, x_names=("angle", "speed"), u_names=("torque",))
    bounds = {"x_min": [-2.0, -8.0], "x_max": [2.0, 8.0], "u_min": [-2.0], "u_max": [2.0]}
    law = solve_mpqp(condense(Ocp(lin, Q=np.diag([1.0, 0.1]), R=[[0.001]], N=2, **bounds)))
    return in_order(law)


def in_order(law: PwaLaw) -> PwaLaw:
    """Sort the regions by their law and place, so that the page does not depend on the order they were found in."""
    centres = [law.vertices(i).mean(axis=0).round(6) for i in range(law.n_regions)]
    keys = [(abs(round(g, 6)), round(g, 6), *centre) for g, centre in zip(law.g[:, 0].tolist(), centres, strict=True)]
    order = sorted(range(law.n_regions), key=lambda i: keys[i])
    rows = np.concatenate([np.arange(law.row_start[i], law.row_start[i + 1]) for i in order])
    starts = np.concatenate([[0], np.cumsum(np.diff(law.row_start)[order])])
    parts = {name: getattr(law, name)[order] for name in ("F", "g", "P", "p", "c")}
    active = tuple(law.active[i] for i in order)
    return replace(law, row_start=starts, H=law.H[rows], k=law.k[rows], active=active, **parts)


def number(value: float, digits: int = 3) -> str:
    """Write a number without a negative zero."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def affine_text(F: np.ndarray, g: float) -> str:
    """Write `F x + g` of the pendulum."""
    if not np.abs(F).max() > 1e-9:
        return number(g)
    signs = [("+" if value >= 0 else "−") + f" {number(abs(value))}" for value in (*F, g)]
    text = f"{signs[0]} angle {signs[1]} speed" + (f" {signs[2]}" if abs(g) > 1e-9 else "")
    return text.removeprefix("+ ").replace("− ", "−", 1) if text.startswith("−") else text.removeprefix("+ ")


def layers(actor: Any, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Evaluate the five layers one after another."""
    s = (actor.step(x) >= 0).to(x.dtype)
    d = torch.relu(actor.indicator(s))
    o = torch.relu(actor.first_match(d))
    parts = torch.relu(actor.suppressed(torch.cat([o - 1, x], dim=-1)))
    found = {"s": s, "d": d, "o": o, "parts": parts, "u": actor.output(parts)}
    return {name: value.detach().numpy()[0] for name, value in found.items()}


def region_rows(law: PwaLaw, values: dict[str, np.ndarray]) -> list[list[str]]:
    """One row a region: its law, how many of its rows hold, and what the layers make of that."""
    rows = []
    for i in range(law.n_regions):
        held, count = values["s"][law.row_start[i] : law.row_start[i + 1]], int(np.diff(law.row_start)[i])
        plus, minus = values["parts"][2 * i : 2 * i + 2]
        rows.append([
            str(i), affine_text(law.F[i, 0], law.g[i, 0]), f"{int(held.sum())} of {count}", f"{values['d'][i]:.0f}",
            f"{values['o'][i]:.0f}", number(plus), number(minus),
        ])  # fmt: skip
    return rows


def gather_rows(law: PwaLaw) -> list[list[str]]:
    """One row a region: its largest violation at the state."""
    worst = np.maximum.reduceat(law.H @ STATE - law.k, law.row_start[:-1])
    return [
        [str(i), number(value), "**smallest: taken**" if i == worst.argmin() else ""] for i, value in enumerate(worst)
    ]


def lattice_text(lattice: Any) -> str:
    """Write the terms of a lattice with one output."""
    part = lattice.outputs[0]
    F, g = part.F.detach().numpy(), part.g.detach().numpy()
    names = [f"l{j}" for j in range(len(F))]
    laws = "\n".join(f"    {name} = {affine_text(F[j], g[j])}" for j, name in enumerate(names))
    terms = ", ".join(f"min({', '.join(names[j] for j in term)})" for term in part.members)
    here = F @ STATE + g
    lows = [min(here[j] for j in term) for term in part.members]
    numbers = ", ".join(f"{name} = {number(value)}" for name, value in zip(names, here, strict=True))
    least = ", ".join(number(value) for value in lows)
    return f"{laws}\n\n    torque = max( {terms} )\n\n    here:    {numbers}\n             max( {least} ) = {number(max(lows))}"


def page(law: PwaLaw) -> str:
    """Write the page."""
    actors: dict[str, Any] = {form: encode_actor(law, form) for form in ("gather", "five_layer", "lattice")}
    gather, five, lattice = actors.values()
    x = torch.as_tensor(STATE)[None]
    values = layers(five, x)
    q, p = len(law.k), law.n_regions
    shapes = {"q": q, "p": p, "M": number(five.M, 2), "five": five.n_weights, "gather": gather.n_weights}
    sizes = shapes | {"lattice": lattice.n_weights, "laws": len(lattice.outputs[0].F), "terms": lattice.n_terms}
    checks = [
        [f"`{form}`", str(actor.n_weights), "yes" if verify(actor, law, 2000, 500).ok else "NO", _bound(actor, law)]
        for form, actor in actors.items()
    ]
    box = Bounds(law.theta_min, law.theta_max, [-2.0], [2.0])
    extended = extend(encode_actor(law), box, (16, 16))
    with torch.no_grad():
        same = torch.equal(extended(x), gather(x))
    region = int(law.locate(STATE))
    head = ["region", "its law", "rows that hold", "layer 2: d", "layer 3: o", "layer 4: +", "layer 4: −"]
    return TEXT.format(
        **sizes,
        state=f"angle {number(STATE[0], 2)} rad, speed {number(STATE[1], 2)} rad/s",
        u=number(law(STATE)[0]),
        region=region,
        layer_table=markdown_table(head, region_rows(law, values)),
        network_u=number(values["u"][0]),
        gather_table=markdown_table(["region", "largest violation (scaled distance)", ""], gather_rows(law)),
        lattice_terms=lattice_text(lattice),
        check_table=markdown_table(["form", "numbers", "samples agree", "proved over whole regions"], checks),
        same="the same bits" if same else "OTHER BITS",
    )


def _bound(actor: Any, law: PwaLaw) -> str:
    bound = error_bound(actor, law)
    assert bound is not None
    exponent = int(np.ceil(np.log10(bound.value)))  # the next power of ten: digits below differ between machines
    return f"error ≤ 1e{exponent}"


def picture(law: PwaLaw, path: Path) -> None:
    """Draw the regions with the state, and what the five layers hold there."""
    import matplotlib.pyplot as plt

    values = layers(encode_actor(law, "five_layer"), torch.as_tensor(STATE)[None])
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.6, 4.4), width_ratios=(1, 1.75), layout="constrained")
    _draw_regions(law, left)
    _draw_layers(law, values, right)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_regions(law: PwaLaw, axes: Any) -> None:
    """Colour each region by its law, number it, and mark the state."""
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("Set2").colors  # pyright: ignore
    for i in range(law.n_regions):
        corners = law.vertices(i)
        axes.fill(corners[:, 0], corners[:, 1], facecolor=colours[i], edgecolor="white", linewidth=1.2)
        middle = corners.mean(axis=0)
        if np.ptp(corners, axis=0).min() > 0.5:
            axes.text(*middle, str(i), ha="center", va="center", fontsize=13, weight="bold")
        else:
            side = np.sign(middle[0])
            axes.annotate(
                str(i), middle, (side * 2.45, middle[1]), ha="center", va="center", fontsize=11, weight="bold",
                arrowprops={"arrowstyle": "-", "color": "0.4"}, annotation_clip=False,
            )  # fmt: skip
    axes.plot(*STATE, "o", color="black")
    axes.annotate("the state", STATE, (0.75, 0.6), arrowprops={"arrowstyle": "-", "color": "black"})
    axes.set(xlabel="angle [rad]", ylabel="speed [rad/s]")
    axes.set_title("seven regions, one affine law each", loc="left", fontsize=11)
    axes.set(xlim=(-2.8, 2.8), ylim=(-8.6, 8.6))


def _draw_layers(law: PwaLaw, values: dict[str, np.ndarray], axes: Any) -> None:
    """Draw every unit of the five layers as a square: filled is one, or more than nothing."""
    member = np.repeat(np.arange(law.n_regions), np.diff(law.row_start))
    columns = (
        ("1 step\ndoes the row hold?", values["s"], member),
        ("2 indicator\ndo all?", values["d"], np.arange(law.n_regions)),
        ("3 first match\nlowest wins", values["o"], np.arange(law.n_regions)),
        ("4 law\n+ and −", values["parts"], np.repeat(np.arange(law.n_regions), 2)),
        ("5 sum\ntorque", values["u"], np.array([law.n_regions // 2])),
    )
    for place, (title, found, region) in enumerate(columns):
        for i in np.unique(region):
            units = found[region == i]
            for j, value in enumerate(units):
                at = (place * 6.4 + j - len(units) / 2, -1.5 * i - 0.4)
                on = abs(value) > 1e-12
                axes.add_patch(_square(at, "tab:blue" if on else "white"))
        axes.text(place * 6.4, 1.2, title, ha="center", va="bottom", fontsize=9)
    shown = number(float(values["u"][0])) + " N m"
    axes.text(4 * 6.4, -1.5 * (law.n_regions // 2) - 1.4, shown, ha="center", va="center", fontsize=11)
    for i in range(law.n_regions):
        axes.text(-4.6, -1.5 * i, f"region {i}", ha="right", va="center", fontsize=9)
    axes.set(xlim=(-9.5, 28.0), ylim=(-1.5 * law.n_regions + 0.6, 3.9))
    axes.set_title("the five layers at this state: a filled square is on", loc="left", fontsize=11)
    axes.set_aspect("equal")
    axes.axis("off")


def _square(at: tuple[float, float], colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(at, 0.8, 0.8, facecolor=colour, edgecolor="0.4", linewidth=0.8)


TEXT = """<!-- written by docs/networks.py; run it again instead of editing -->
# A network you can read

An explicit MPC law is a list of regions with one affine law each. A network of this package is that list written as
layers: nothing is trained, and every weight has a meaning. This page takes a pendulum with seven regions and follows one
state through the network.

**The problem.** Upright pendulum, 0.05 s a step, horizon 2, |angle| ≤ 2 rad, |speed| ≤ 8 rad/s, |torque| ≤ 2 N m,
Q = diag(1, 0.1), R = 0.001. The solver finds p = {p} regions with q = {q} inequality rows in all.

**The state.** {state}. It lies in region {region}, and the law gives **torque = {u} N m**.

![Regions and layers](pictures/network.png)

## Five layers, as published (`form="five_layer"`)

| layer | units | what it asks | weights |
| --- | --- | --- | --- |
| 1 `step` | q = {q} | does this row hold? `s = 1 if k − H x ≥ 0` | `−H`, `k` (plus a tolerance for rounding) |
| 2 `indicator` | p = {p} | do all rows of this region hold? `d = relu(sum of s + 1 − rows)` | ones over the region's rows |
| 3 `first_match` | p = {p} | is it the first such region? `o = relu(d − sum of earlier d)` | 1 on the diagonal, −1 below |
| 4 `suppressed` | 2 p | the region's law, if chosen: `relu(±(F x + g) + M (o − 1))` | `M`, `±F`, `±g` |
| 5 `output` | 1 | sum: + parts less − parts | +1 and −1 |

M only has to be larger than any law on the parameter box; here it is {M}, computed from this law. The chosen law meets
M times zero, so it passes unrounded however large M is. With the state above:

{layer_table}

Layer 5 adds them up: **{network_u} N m**, the law's own value. Where a state lies on the facet between two regions, both
hold in layer 2, and layer 3 lets the lower index pass. Outside all regions every `o` is 0, and so is the output.

## The same law by comparing violations (`form="gather"`)

No M and no tolerance: each region is asked by how much its worst row is violated (negative: inside, with that much to
spare), and the least violated region gives the law. Outside all regions that is the nearest one. In double precision the
result has the same bits as `law(x)`.

{gather_table}

## The same law as maxima and minima (`form="lattice"`)

Many regions share a law, and a continuous law needs no regions at all: {laws} distinct laws and {terms} terms say the
same. It stays continuous whatever training does to its weights.

{lattice_terms}

## Which form to take

| you want | take | why |
| --- | --- | --- |
| a reference, or to fine-tune behind the gate | `gather` | the law's own bits, the nearest region outside, any law |
| speed, few weights, a GPU, a law that stays continuous while it learns | `lattice` | elementwise operations only: \
`actor.compiled()` in loops on the processor, `torch.compile(actor)` in one kernel; continuous laws only |
| to reproduce the published network, or to show a reviewer plain dense layers | `five_layer` | every weight by layer \
name; grows with the square of the regions |
| single precision on the chip, many regions that meet at sharp angles | `lattice` | the only one whose proof does not \
depend on which region rounding takes |
| ONNX, TorchScript, `torch.export` | any | `yannctl export onnx FILE` compares the graph with onnxruntime: the same bits |
| no torch at all | none | `law(x)`, with `law.with_tree()` for many regions, or the exported C |

## Is it really the same?

{check_table}

The last column is proved from the corners of the regions, not from samples. `yannctl verify FILE` does this for every form
in both precisions and compares the law with the online QP; one wrong weight, and its exit code is 1.

## From here to learning

`extend(actor, plant)` adds a network whose last layer is zero, so before the first update the policy gives {same}. In
`state_dict` the law's weights begin with `base.`, the learned ones with `learned.`. `policy.train_stage("learned")` freezes
the law, `RangeSchedule` lets the change grow with trust, and `explain(policy, x)` says in words which region applies, which
constraints are active, and what the learned part and a filter have changed.
"""


def main() -> None:
    """Write page and picture."""
    law = clipped_pendulum()
    (FOLDER / "networks.md").write_text(page(law), encoding="utf-8")
    picture(law, FOLDER / "pictures" / "network.png")


if __name__ == "__main__":
    main()
