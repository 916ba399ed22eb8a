"""The page a training run ends with: the law before and after, the gate's decisions, and what is not claimed."""

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yannctl import rl
from yannctl.assurance import Certificate
from yannctl.rl.construction import ALGORITHMS

from . import training_figures as drawn
from .figures import save_figure
from .report import Card, Picture, Section, write_report
from .training_comparison import Comparison, changes, compare, operating_point
from .training_teacher import is_imitation, teacher_section

PAGE = "report.html"
PICTURES = "pictures"
MOST_DECISIONS = 40  # rows of the table of decisions; all of them are in gate.jsonl
PACKAGES = ("yannctl", "torch", "numpy", "scipy", "casadi", "numba")


@dataclass(frozen=True)
class Told:
    """What the page is written from.

    Args:
        result: of the run.
        command: what it was started with, by name.
        settings: content of settings.json.
        comparison: policies on common starts, None without a plant.
        folder: the run's folder.
    """

    result: "rl.TrainingResult"
    command: dict[str, Any]
    settings: dict[str, Any]
    comparison: Comparison | None
    folder: Path

    @property
    def gated(self) -> bool:
        """Whether the gate decided."""
        return self.comparison is not None

    @property
    def from_law(self) -> bool:
        """Whether the run started from an exact law."""
        return bool(self.command["law"])


def write_training_page(
    result: "rl.TrainingResult", environment: Any, command: dict[str, Any], folder: Path
) -> tuple[Path, Comparison | None]:
    """Compare the policies once more and write the page beside the run's files.

    Args:
        result: of the run.
        environment: the environment it ran on.
        command: what it was started with, by name.
        folder: the run's folder.

    Returns:
        The page, and the comparison it shows.
    """
    settings = json.loads((folder / "settings.json").read_text())
    told = Told(result, command, settings, compare(result, environment, command["seed"]), folder)
    sections = [
        *_comparison(told),
        *_law(told),
        *_changes(told),
        *_courses(told),
        *_progress(told),
        *_decisions(told),
        *teacher_section(told.result.gate_events, told.command.get("horizon", 0)),
        *_model(told),
        *_filter(told),
        _limits(told),
        _settings(told),
    ]
    title = f"Training report: {command['env']}"
    write_report(folder / PAGE, title, _lead(told), _cards(told), sections)
    return folder / PAGE, told.comparison


def _lead(told: Told) -> str:
    start = "an exact law" if told.from_law else "the middle of the input range (no law was given)"
    promoted = [event for event in told.result.gate_events if event.decision == "promoted"]
    given, learner = told.command, told.command["algorithm"].upper().replace("DSACT", "DSAC-T")
    text = f"{learner} from {start}, {given['steps']} steps, seed {given['seed']}. "
    if not promoted:
        return text + "No candidate was promoted: what is deployed is what the run started from."
    times = "once" if len(promoted) == 1 else f"{len(promoted)} times"
    return text + f"The deployed policy changed {times}, last at step {promoted[-1].step}."


def _cards(told: Told) -> list[Card]:
    result, found = told.result, told.comparison
    last = result.history[-1] if result.history else {}
    cards = []
    if found is not None:
        mean, low, high = found.gain("tuned")
        kind = "good" if low > 0 else "bad" if high < 0 else ""
        label = f"mean gain in return over the {_start(told)}, 95 %: {low:+.4g} to {high:+.4g}"
        cards.append(Card(f"{mean:+.4g}", label, kind))
        closed = found.gap_closed()
        if closed is not None:
            cards.append(Card(f"{100 * closed:.1f} %", "of the gap to the best known closed"))
    tests = [event for event in result.gate_events if event.index]
    opened = sum(event.decision == "promoted" for event in tests)
    cards.append(Card(f"{opened} of {len(tests)}", "tests promoted a new policy"))
    if last:
        hits = int(last["behaviour_violations"])
        cards.append(Card(f"{hits}", "steps outside the state bounds while training", "good" if hits == 0 else "bad"))
    if result.safeguard.filter is not None and found is not None:
        share = 100 * float(found.rows["tuned"].interventions.mean())
        cards.append(Card(f"{share:.1f} %", "of the deployed policy's inputs changed by the filter"))
    return cards


def _start(told: Told) -> str:
    return "exact law" if told.from_law else "middle input"


def _comparison(told: Told) -> list[Section]:
    found = told.comparison
    if found is None:
        return []
    behind = "" if told.result.safeguard.filter is None else ", all behind the certified filter"
    rows = []
    for name, row in found.rows.items():
        gain = ["–"] * 3
        if name != "linear":
            mean, low, high = found.gain(name)
            worse = int((row.returns < found.rows["linear"].returns - 1e-9 * np.abs(row.returns)).sum())
            gain = [f"{mean:+.4g}", f"{low:+.4g} to {high:+.4g}", f"{worse} of {len(found.starts)}"]
        numbers = [f"{row.returns.mean():.5g}", *gain, f"{int(row.violations.sum())}"]
        if told.result.safeguard.filter is not None:
            numbers.append(f"{100 * float(row.interventions.mean()):.1f} %")
        rows.append([row.label, *numbers])
    columns = ["policy", "mean return", "gain over the law", "95 % interval", "starts worse", "steps out of bounds"]
    if told.result.safeguard.filter is not None:
        columns.append("inputs changed")
    text = (
        f"{len(found.starts)} fresh starts, the same for all policies{behind}, episodes of {found.plant.episode_steps} "
        "steps on the simulated plant; neither the learner nor the gate has seen these starts. "
        f"Best known: {found.bound}."
    )
    picture = _picture(told, "gains", lambda narrow: drawn.gains(found, narrow),
                       "Left: mean gain over the law with its 95 % interval. Right: the gain from every single start; "
                       "a mean gain does not mean a gain from each.")  # fmt: skip
    return [Section("Is it better, and by how much", text, columns, rows, [picture])]


def _law(told: Told) -> list[Section]:
    found = told.comparison
    if found is None:
        return []
    plant = found.plant
    point = ", ".join(
        f"{name} = {value:.4g}" for name, value in zip(plant.x_names, operating_point(plant), strict=True)
    )
    pictures = [
        _picture(told, "slices", lambda narrow: drawn.slices(found, narrow),
                 f"Every input along every state through ({point}; dotted), within its limits, before the filter.")
    ]  # fmt: skip
    if plant.nx >= 2 and not found.unchanged:
        rest = "" if plant.nx == 2 else " The other states are those of the operating point."
        for j, name in enumerate(plant.u_names):
            pictures.append(
                _picture(told, f"map_{name}", lambda narrow, j=j: drawn.maps(found, j, narrow),
                         f"{name} over the two states along which it varies most.{rest}")
            )  # fmt: skip
    same = " It is unchanged: no candidate was promoted, and both curves below are one." if found.unchanged else ""
    return [Section("The law before and after", _starting_point(told) + same, pictures=pictures)]


def _starting_point(told: Told) -> str:
    if told.from_law:
        return "Before training the policy is the exact law, bit for bit; learning adds a change that starts at zero."
    return "The run had no law to start from: before training the policy always asks for the middle of the input range."


def _changes(told: Told) -> list[Section]:
    found = told.comparison
    if found is None or found.unchanged:
        return []
    plant, rows = found.plant, []
    for place, change in changes(found).items():
        size = np.abs(change)
        for j, name in enumerate(plant.u_names):
            shares = (size[:, j].mean(), np.quantile(size[:, j], 0.95), size[:, j].max(), (size[:, j] > 0.01).mean())
            rows.append([f"{name}, {place}", *(f"{100 * share:.1f} %" for share in shares)])
    columns = ("input, where", "mean change", "95 % quantile", "largest", "changed by more than 1 %")
    text = "Change of the input from law to deployed policy, as a share of the input's range, before the filter."
    return [Section("Where the input changed", text, columns, rows), *_largest(found)]


def _largest(found: Comparison) -> list[Section]:
    """The visited states where learning changed the input most, one an episode."""
    plant, course = found.plant, found.courses["tuned"]
    change = changes(found)["along the deployed closed loops"].reshape(*course.u.shape)
    size = np.abs(change).max(axis=2)
    if not size.max() > 0:
        return []
    episodes = np.argsort(size.max(axis=1))[::-1][:5]
    rows = []
    for k in episodes:
        step = int(size[k].argmax())
        x = course.x[k, step]
        before, after = (plant.clip(law(x[None]))[0] for law in (found.before, found.after))
        rows.append(
            [f"{step * plant.dt:.4g} {plant.time_unit}", *(f"{value:.4g}" for value in x),
             *(f"{a:.4g} → {b:.4g}" for a, b in zip(before, after, strict=True))]
        )  # fmt: skip
    columns = ["at", *(drawn.state_label(plant, i) for i in range(plant.nx))]
    columns += [drawn.input_label(plant, j) for j in range(plant.nu)]
    text = "The moments at which the deployed closed loops depart furthest from the law, one a run."
    return [Section("The largest departures", text, columns, rows)]


def _courses(told: Told) -> list[Section]:
    found = told.comparison
    if found is None or found.unchanged:
        return []
    caption = "Law and deployed policy from the start of largest gain and from that of least gain; red: hard limits."
    picture = _picture(told, "courses", lambda narrow: drawn.courses(found, narrow), caption)
    return [Section("Closed loops", pictures=[picture])]


def _progress(told: Told) -> list[Section]:
    history, found = told.result.history, told.comparison
    if not history:
        text = "No comparison was made during the run: the first comes after the warm-up."
        return [Section("The course of learning", text)]
    levels = {} if found is None else {
        name: float(found.rows[name].returns.mean()) for name in ("linear", "optimum") if name in found.rows
    }  # fmt: skip
    caption = "Only the gate changes the deployed policy; the learning policy wanders, and may be worse at any time."
    if found is None:
        caption = "Deployed is the best of the evaluations so far: no nominal model, so no gate and no confidence."
    text = "At each test both policies run from the same fresh starts; from one test to the next the starts differ."
    picture = _picture(told, "progress", lambda narrow: drawn.progress(history, levels, narrow), caption)
    return [Section("The course of learning", text, pictures=[picture])]


def _decisions(told: Told) -> list[Section]:
    shown = events = [event for event in told.result.gate_events if not is_imitation(event)]
    if not events:
        return []
    if len(events) > MOST_DECISIONS:
        kept = {id(event) for event in events[-MOST_DECISIONS // 2 :]}
        shown = [event for event in events if id(event) in kept or event.decision != "kept"]
    rows = []
    for event in shown:
        if not event.index:
            rows.append([f"{event.step}", event.decision, event.reason, *["–"] * 5])
            continue
        numbers = (event.deployed_return, event.candidate_return, event.difference, event.lower_bound)
        texts = [f"{value:.5g}" for value in numbers]
        hits = f"{event.candidate_violations} / {event.deployed_violations}"
        rows.append([f"{event.step}", event.decision, event.reason, *texts, hits])
    columns = ("step", "decision", "why", "deployed", "candidate", "difference", "its lower bound", "out of bounds")
    last = events[-1]
    text = (
        f"Deployed and candidate policy run from {last.n_starts} fresh common starts on the model; the candidate is "
        "deployed only if the lower confidence bound of its gain is above zero and it does not leave the state bounds "
        f"more often. The levels of all tests of the run together are {told.settings['settings']['gate_alpha']:g}. "
        f"Out of bounds: steps of candidate / deployed. Model steps spent: "
        f"{sum(event.gate_model_steps for event in events):,}; plant steps: "
        f"{sum(event.gate_plant_steps for event in events):,}."
    )
    if not told.gated:
        text = f"Means over {last.n_starts} evaluation episodes; there is no confidence in them."
    if len(shown) < len(events):
        text += f" {len(shown)} of {len(events)} decisions are shown; all are in gate.jsonl."
    return [Section("Decisions of the gate" if told.gated else "Evaluations", text, columns, rows)]


def _model(told: Told) -> list[Section]:
    """What the gate took for the plant at its last test, where it asked the data."""
    known = [event for event in told.result.gate_events if event.parameters]
    if not known or told.comparison is None:
        return []
    last, plant = known[-1], told.comparison.plant
    rows = []
    for name, value in last.parameters.items():
        error, interval = last.standard_errors.get(name), plant.uncertain[name]
        doubt = "not asked yet" if error is None else f"{error:.2g}"
        rows.append([name, f"{value:.5g}", doubt, f"{interval.low:.5g} to {interval.high:.5g}", interval.unit or "–"])
    kinds = {
        "fitted": "the parameters were estimated from the transitions of this run",
        "ranges": "the plant was not known yet, so a candidate had to be better at every corner of the declared ranges",
    }
    text = f"At step {last.step} {kinds.get(last.model, 'the data sheet was taken')}. "
    text += f"Doubt: {last.doubt}. " if last.doubt else "The model's form explains the plant's data. "
    if last.plant_episodes:
        text += (
            f"Over {last.plant_episodes} logged episodes of the deployed policy the model promised "
            f"{last.model_optimism:+.4g} more than the plant gave, on average."
        )
    columns = ("parameter", "taken as", "standard error", "declared range", "unit")
    return [Section("What the gate took for the plant", text, columns, rows)]


def _filter(told: Told) -> list[Section]:
    guard, history = told.result.safeguard, told.result.history
    if guard.filter is None:
        return [Section("Safety filter", f"None: {guard.reason}.")]
    text = f"Every input of the run passed the certified filter {guard.name} ({guard.reason})."
    if not history:
        return [Section("Safety filter", text)]
    last = history[-1]
    rows = [
        ["inputs proposed", f"{last['step']:,}"],
        ["changed by the filter", f"{last['interventions']:,}"],
        ["steps begun outside the certified set", f"{last['outside_set']:,}"],
        ["steps outside the state bounds", f"{last['behaviour_violations']:,}"],
    ]
    if isinstance(guard.certificate, Certificate):
        share = 100 * last["residual_share"]
        rows.append(["largest share of the certified model error that was used", f"{share:.0f} % (alarm at 80 %)"])
    picture = _picture(told, "interventions", lambda narrow: drawn.interventions(history, narrow),
                       "Share of the inputs that the filter changed.")  # fmt: skip
    return [Section("Safety filter", text, ("until the last test", ""), rows, [picture])]


def _limits(told: Told) -> Section:
    """What is not claimed."""
    said = ["One run with one seed: another seed ends elsewhere."]
    if told.gated:
        said += [
            "“Not worse than before” is a statement about mean returns over the declared starts on the simulated "
            "plant, at the stated confidence; from a single start the deployed policy may be worse.",
            "The gate ran on a model. On a plant that differs from it, returns differ, and so may their order.",
        ]
    else:
        said.append("Without a nominal model there is no gate: the best of many noisy means is optimistic.")
    said.append("The learning policy is not for use; nothing is claimed for it.")
    if told.result.safeguard.filter is not None:
        said.append(
            "The filter's proof holds at the sampling instants, for the plant and the intervals stated above, for "
            "states inside its set, and for the policy only together with the filter. It is no SIL certificate."
        )
    else:
        said.append("No safety claim of any kind is made for this run: there was no certified filter.")
    if told.comparison is not None and "optimum" in told.comparison.rows:
        said.append("The best known return comes from a grid and is itself an approximation.")
    return Section("What is not claimed", points=said)


def _settings(told: Told) -> Section:
    given = told.settings["settings"]
    rows = [
        ["command", _command_line(told.command)],
        ["folder", str(told.folder)],
        ["seed", f"{told.command['seed']}"],
        ["seconds of this call", f"{told.result.seconds:.1f}"],
        ["machine", f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"],
        ["packages", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)],
        *[[f"fact: {name.replace('_', ' ')}", f"{value}"] for name, value in told.settings["facts"].items()],
        *[[f"setting: {name}", f"{value}"] for name, value in _flat(given, told.command["algorithm"])],
    ]
    text = "Everything that is needed to repeat the run; the same is in settings.json and command.json."
    return Section("Settings, seed and versions", text, ("what", "value"), rows)


def _command_line(command: dict[str, Any]) -> str:
    words = [f"yannctl train --env {command['env']} --algorithm {command['algorithm']} --steps {command['steps']}"]
    words.append(f"--seed {command['seed']} --filter {command['filter']}")
    words += [f"--horizon {command['horizon']}"] if command.get("horizon") else []
    words += [f"--set {name}={value}" for name, value in command["changes"].items()]
    return " ".join([*words, *(["--law LAW"] if command["law"] else [])])


def _flat(settings: dict[str, Any], algorithm: str) -> list[tuple[str, Any]]:
    """Settings by name, those of the other algorithms left out."""
    flat: list[tuple[str, Any]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            used = name not in ALGORITHMS or name == algorithm
            flat += [(f"{name}.{inner}", v) for inner, v in value.items() if used]
        else:
            flat.append((name, value))
    return flat


def _picture(told: Told, name: str, draw: drawn.Drawing, caption: str) -> Picture:
    """Draw the wide and the narrow form and keep both as files."""
    folder = told.folder / PICTURES
    folder.mkdir(exist_ok=True)
    paths = folder / f"{name}.png", folder / f"{name}_narrow.png"
    for path, narrow in zip(paths, (False, True), strict=True):
        save_figure(draw(narrow), path)
    return Picture(paths[0], caption, paths[1])
