"""Certificates of the sets with a verified border: all their numbers, a proof in pieces, one signed file.

The file has the form of the polytopic certificate's: safetensors, a JSON header with the statement, room for an Ed25519
signature. Reading it proves it again with `analytic_checker`, which shares no code with the sets, and then builds the
set from the file's numbers alone.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import FileFormatError, ModelError

from .analytic_checker import check_analytic
from .barrier_set import BarrierSet, barrier_depth
from .certificate import Statement
from .checker import CheckReport
from .safe_set import AbstractSafeSet
from .signature import sign
from .stopping_set import StoppingSet

KIND = "yannctl analytic certificate"
VERSION = 1
_PIECES = 16
_SIGNATURE = "0" * 128
_REACTOR = ("q", "V", "CAf", "Tf", "E_R", "dH", "rho", "Cp")


@dataclass(frozen=True, eq=False)
class AnalyticCertificate:
    """A set with a verified border that a stated input always keeps, with its proof.

    Args:
        form: "barrier" or "stopping".
        statement: what it speaks about.
        numbers: everything the set and its proof consist of, by name.
        signed_by: public key of the signature that was checked (64 hexadecimal digits), empty when unsigned.
    """

    form: str
    statement: Statement
    numbers: Mapping[str, np.ndarray]
    signed_by: str = ""

    @property
    def n_cert(self) -> int:
        """Periods an accepted input may be held beyond its own; the sets promise none, their fall-back any number."""
        return 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Give all numbers by name, as the checker and the file take them."""
        return {name: np.ascontiguousarray(value, dtype=float) for name, value in self.numbers.items()}

    def check(self) -> CheckReport:
        """Check every segment and premise again, in exact numbers and integer intervals."""
        return check_analytic(self.form, self.arrays(), self.statement.dt)

    def safe_set(self) -> AbstractSafeSet:
        """Build the set from these numbers.

        Returns:
            The set, ready for `SafetyFilter`.
        """
        return _barrier_of(self) if self.form == "barrier" else _stopping_of(self)


def certify_barrier(barrier: BarrierSet, plant: Any) -> AnalyticCertificate:
    """Write down a reactor's barrier with its proof, and check it.

    Args:
        barrier: the set.
        plant: the reactor it was made for, with the names and units of its states and inputs.

    Returns:
        The certificate.

    Raises:
        ModelError: the independent check finds a segment that fails.
    """
    from yannctl.models.cstr import HOTTEST_RATE

    numbers = {
        "corners": barrier.corners, "limits": [barrier.T_max, barrier.T_low],
        "coolant": [barrier.u_min[0], barrier.u_max[0]], "p_min": barrier.p_min, "p_max": barrier.p_max,
        "reactor": [*(getattr(plant, name) for name in _REACTOR), HOTTEST_RATE],
        "depth": [barrier_depth()], "room": [0.9 * barrier.room], "pieces": [_PIECES],
    }  # fmt: skip
    note = (
        f"T <= {barrier.T_max:g} K, also between sampling instants; k0 and UA anywhere in their intervals, constant in "
        "each period; feed as stated, no sensor error, the coolant takes its temperature at once"
    )
    return _checked("barrier", plant, ("k0", "UA"), numbers, note)


def certify_stopping(stopping: StoppingSet, plant: Any) -> AnalyticCertificate:
    """Write down a robot's stopping set with its premises, and check them.

    Args:
        stopping: the set.
        plant: the robot it was made for, with the names and units of its states and inputs.

    Returns:
        The certificate.

    Raises:
        ModelError: the independent check finds a premise that fails.
    """
    numbers = {
        "corridor": [stopping.half_width, stopping.curvature], "lag": [stopping.lag_min, stopping.lag_max],
        "gains": [stopping.speed_gain, stopping.turn_gain], "bend": [stopping.bend],
        "u_min": stopping.u_min, "u_max": stopping.u_max, "wheels": [stopping.half_track, stopping.u_max[0]],
        "decay": list(stopping.decays()),
    }  # fmt: skip
    note = (
        "lag, slip and curvature anywhere in their intervals; forward speeds, v >= 0; no side slip, no sensor error, "
        "no error of the path"
    )
    return _checked("stopping", plant, ("lag", "speed_gain", "turn_gain"), numbers, note)


def _checked(form: str, plant: Any, p_names: tuple[str, ...], numbers: Any, note: str) -> AnalyticCertificate:
    statement = Statement(
        type(plant).__name__, tuple(plant.x_names), tuple(plant.x_units), tuple(plant.u_names), tuple(plant.u_units),
        p_names, float(plant.dt), note,
    )  # fmt: skip
    made = AnalyticCertificate(form, statement, {name: np.asarray(value, float) for name, value in numbers.items()})
    report = made.check()
    if not report.ok:
        raise ModelError("certificate", report.failure, remedy="more segments, or a colder coolant")
    return made


def _barrier_of(certificate: AnalyticCertificate) -> BarrierSet:
    from yannctl.models import CSTR

    from .targets import reactor_flow

    n = certificate.numbers
    values: Any = {name: float(value) for name, value in zip(_REACTOR, n["reactor"], strict=False)}
    (T_max, T_low), (coldest, warmest) = n["limits"].tolist(), n["coolant"].tolist()
    plant = CSTR(dt=certificate.statement.dt, Tc_min=coldest, Tc_max=warmest, T_max=T_max, **values)
    return BarrierSet(
        reactor_flow(plant), n["corners"], T_max, T_low, n["coolant"][:1], n["coolant"][1:], n["p_min"], n["p_max"]
    )


def _stopping_of(certificate: AnalyticCertificate) -> StoppingSet:
    n, said = certificate.numbers, certificate.statement
    (half_width, curvature), (lag_min, lag_max), (speed_gain, turn_gain) = (
        n[name].tolist() for name in ("corridor", "lag", "gains")
    )
    return StoppingSet(
        half_width, curvature, lag_min, lag_max, speed_gain, turn_gain, said.dt, n["u_min"], n["u_max"],
        float(n["wheels"][0]), len(said.x_names),
    )  # fmt: skip


def analytic_bytes(certificate: AnalyticCertificate, key: bytes | None = None) -> bytes:
    """Give a certificate file as bytes.

    Args:
        certificate: what to write.
        key: private Ed25519 key (32 bytes), or None for an unsigned file.

    Returns:
        The bytes of the file.
    """
    from safetensors.numpy import save

    header = {
        "kind": KIND, "version": VERSION, "signature": _SIGNATURE, "form": certificate.form,
        "statement": vars(certificate.statement),
    }  # fmt: skip
    raw = save(certificate.arrays(), {"yannctl": json.dumps(header)})
    return sign(raw, key) if key is not None else raw


def assemble_analytic(
    tensors: Mapping[str, np.ndarray], header: Mapping[str, Any], signed_by: str
) -> AnalyticCertificate:
    """Put a certificate together from the parts of its file and prove it again.

    Args:
        tensors: its numbers.
        header: its JSON header.
        signed_by: public key of the signature that was checked.

    Returns:
        The certificate.

    Raises:
        FileFormatError: the proof does not hold; the segment or premise that fails is named.
    """
    words: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in header["statement"].items()
    }
    made = AnalyticCertificate(header["form"], Statement(**words), dict(tensors), signed_by)
    report = made.check()
    if not report.ok:
        raise FileFormatError(f"the proof does not hold: {report.failure}")
    return made


def reactor_barrier_certificate() -> AnalyticCertificate:
    """Certify the temperature limit of the reactor's task."""
    from yannctl.models import CSTR

    from .targets import reactor_barrier

    return certify_barrier(reactor_barrier(), CSTR())


def robot_stopping_certificate() -> AnalyticCertificate:
    """Certify the corridor of the robot's task."""
    from yannctl.models import DifferentialDrive

    from .targets import robot_stopping_set

    return certify_stopping(robot_stopping_set(), DifferentialDrive())


ANALYTIC: dict[str, Callable[[], AnalyticCertificate]] = {
    "reactor-limit": reactor_barrier_certificate,
    "robot-stop": robot_stopping_certificate,
}
