"""The parts of the learners' benchmark as rows of a table: figure, Stable-Baselines3, target."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from learners_parts import LEARNING, SPEEDS

MACHINES = ("lq", "speed")  # tasks whose figures are those of a machine or a seed
WITHIN_SIGMA, WITHIN_OPTIMUM = 0.03, 0.02
PEERS = {"ddpg": "sb3-ddpg", "td3": "sb3-td3", "dsact": "sb3-sac"}
Parts = Sequence[dict[str, Any]]


def rows_of(parts: Parts, short: bool) -> list[dict[str, Any]]:
    """Rows of the table.

    Args:
        parts: what was measured.
        short: whether it was the short form, in which no busy machine and no last bits of one seed must decide.

    Returns:
        A row a target, or a figure that has none: what, figure, peer, target, and whether it holds (None: no target).
    """
    rows: list[dict[str, Any]] = []
    for task, make in MAKERS.items():
        done = [part for part in parts if part["task"] == task and part["status"] == "done"]
        made = make(done, parts)
        rows += [{**row, "target": "", "ok": None} for row in made] if short and task in MACHINES else made
    rows += [
        _row(part["task"], " ".join(map(str, part["words"])), part["status"], ok=False)
        for part in parts
        if part["status"].startswith("stopped")
    ]
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text.

    Args:
        rows: from `rows_of`.
    """
    columns = ("what", "figure", "peer", "target")
    heads: dict[str, Any] = dict(zip(columns, ("", "here", "Stable-Baselines3", "target"), strict=True))
    widths = [max(len(row[name]) for row in (heads, *rows)) for name in columns]
    mark = {True: "ok", False: "MISSED", None: ""}
    lines = []
    for row in (heads, *rows):
        cells = [f"{row[name]:<{width}}" for name, width in zip(columns, widths, strict=True)]
        lines.append("  ".join([*cells, mark[row.get("ok")]]).rstrip())
    return "\n".join(lines)


def _row(task: str, what: str, figure: str, peer: str = "", target: str = "", ok: bool | None = None) -> dict[str, Any]:
    return {"task": task, "what": what, "figure": figure, "peer": peer, "target": target, "ok": ok}


def _sigma(done: Parts, _parts: Parts) -> Iterator[dict[str, Any]]:
    for part in done:
        off = part["sigma"] / part["true"] - 1.0
        what, figure = f"DSAC-T sigma on N(5, {part['true']:g}^2)", f"{part['sigma']:.3f} ({100 * off:+.1f} %)"
        yield _row("sigma", what, figure, "has none", "within 3 %", abs(off) <= WITHIN_SIGMA)


def _linear(done: Parts, parts: Parts) -> Iterator[dict[str, Any]]:
    for plant, algorithm in dict.fromkeys(tuple(part["words"][:2]) for part in done):
        own = [part for part in done if part["words"][:2] == [plant, algorithm]]
        figure = ", ".join(f"{100 * part['above']:.2f}" for part in own) + " % below the optimum"
        peers = [part for part in parts if part["task"] == "lq-peer" and part["words"] == [plant, PEERS[algorithm]]]
        peer = ", ".join(_peer(part, lambda part: f"{100 * part['above']:.2f} %") for part in peers)
        what = f"{plant}, {algorithm}, seeds {_seeds(own)}"
        yield _row("lq", what, figure, peer, "2 %", all(part["above"] <= WITHIN_OPTIMUM for part in own))


def _learning(done: Parts, parts: Parts) -> Iterator[dict[str, Any]]:
    for name, steps in dict.fromkeys(tuple(part["words"][:2]) for part in done):
        own = [part for part in done if part["words"][:2] == [name, steps]]
        peers = [part for part in parts if part["task"] == "learn-peer" and part["words"][:2] == [name, steps]]
        least = LEARNING[name][1]
        figure = ", ".join(f"{part['deployed']:.0f}" for part in own)
        peer = ", ".join(_peer(part, lambda part: f"{part['deployed']:.0f}") for part in peers)
        what = f"{name}, {steps} steps, seeds {_seeds(own)}"
        yield _row("learn", what, figure, peer, f">= {least:g}", all(part["deployed"] >= least for part in own))


def _paper(done: Parts, _parts: Parts) -> Iterator[dict[str, Any]]:
    for part in done:
        figure = f"{part['deployed']:.0f} at best, {part['last']:.0f} at the end"
        yield _row("paper", f"paper's profile, {part['words'][0]}, {part['steps']} steps", figure)


def _speed(done: Parts, parts: Parts) -> Iterator[dict[str, Any]]:
    for part in done:
        target, what = SPEEDS[part["words"][0]], f"updates a CPU second, {part['words'][0]}"
        figure = f"{part['ratio']:.2f} times ({part['ours_per_s']:.0f})"
        peer, wanted = f"{part['sb3_per_s']:.0f}", f">= {target} times" if target else ""
        yield _row("speed", what, figure, peer, wanted, None if target is None else part["ratio"] >= target)
    missing = [part["words"][0] for part in parts if part["task"] == "speed" and part["status"] == "not installed"]
    if missing:
        yield _row("speed", f"updates a CPU second, {', '.join(missing)}", "not measured", "not installed")


def _gpu(done: Parts, _parts: Parts) -> Iterator[dict[str, Any]]:
    for part in done:
        rates = part.get("per_s", {})
        if not rates:
            yield _row("gpu", "GPU", part["device"])
        for name, rate in rates.items():
            peer = rates.get(f"sb3-{name.rpartition('-')[2]}")
            if not name.startswith("sb3"):
                figure, beside = f"{rate:.0f}", "" if peer is None else f"{peer:.0f}"
                yield _row("gpu", f"updates a second on {part['device']}, {name}", figure, beside)
        for name, seconds in part.get("training_s", {}).items():
            yield _row("gpu", f"{part['training']}, {name}", f"{seconds:.1f} s")


def _chaos(done: Parts, _parts: Parts) -> Iterator[dict[str, Any]]:
    for part in done:
        kind, _ = part["words"]
        what, target = f"killed, {kind}", "all bit-exact" if kind == "synchronous" else "none lost"
        if "error" in part:
            figure = part["error"].strip().splitlines()[-1][:80]
        elif kind == "synchronous":
            figure = f"{part['killed']} kills, {part['bit_exact']} of {part['trials']} trials bit-exact"
        else:
            killed = part["killed"]["actor"] + part["killed"]["learner"]
            figure = f"{killed} kills, {part['lost']} of {part['transitions']} transitions lost"
        yield _row("chaos", what, figure, "", target, part["ok"])


def _faults(done: Parts, _parts: Parts) -> Iterator[dict[str, Any]]:
    yield from (_row("faults", "faults injected", part["said"], "", "all", part["ok"]) for part in done)


def _peer(part: dict[str, Any], figure: Callable[[dict[str, Any]], str]) -> str:
    return figure(part) if part["status"] == "done" else part["status"]


def _seeds(parts: Parts) -> str:
    return ", ".join(f"{part['words'][2]}" for part in parts)


MAKERS: dict[str, Callable[[Parts, Parts], Iterator[dict[str, Any]]]] = {
    "sigma": _sigma, "lq": _linear, "learn": _learning, "paper": _paper, "speed": _speed, "gpu": _gpu,
    "chaos": _chaos, "faults": _faults,
}  # fmt: skip
