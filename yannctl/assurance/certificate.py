"""A certificate: the set, the models it is proved for, the proof, and what is claimed, in one signed file.

The file is safetensors with a JSON header. Its Ed25519 signature covers every byte of the file, with the signature's
own 128 digits set to zero. Reading checks, in this order: a regular file of bounded size, the signature, the numbers,
and then the proof itself with the exact checker, so a signed file with a wrong proof is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import FileFormatError, ModelError, YannctlError
from yannctl.files import write_whole

from .checker import CheckReport, check_polytopic
from .clip_filter import ClipFilter
from .filter_rows import FilterRows, clip_from_rows, held_rows, needed_rows
from .inclusion import Domain, Inclusion
from .invariant_set import InvariantSet, invariant_set, state_box
from .signature import header_of, read_bounded, sign, verify_signature

if TYPE_CHECKING:
    from yannctl.pwa import Settings

    from .analytic_certificate import AnalyticCertificate
    from .projection_filter import ProjectionFilter
    from .safe_set import CertifiedPolytope

KIND = "yannctl certificate"
CLAIM = (
    "Claimed: a model within the stated bounds of state, input, parameters and errors that is in the set at one "
    "sampling instant is in it at every later one. That a plant keeps within these bounds is an assumption; no SIL or "
    "performance level, and nothing is guaranteed on hardware."
)
VERSION = 1
_SIGNATURE = "0" * 128
_ARRAYS = (
    "H", "h", "bases", "vertices", "inputs", "A", "B", "c", "w", "periods", "terms", "sensor", "x_min", "x_max",
    "u_min", "u_max", "p_min", "p_max", "kept", "implied", "proof", "weights", "tightening",
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """What a certificate speaks about.

    Args:
        plant: name of the plant or task.
        x_names: names of the states of the set.
        x_units: their units.
        u_names: names of the inputs.
        u_units: their units.
        p_names: names of the parameters whose intervals are covered.
        dt: sample period [the plant's unit of time].
        note: what is covered and what is not, in words.
    """

    plant: str
    x_names: tuple[str, ...]
    x_units: tuple[str, ...]
    u_names: tuple[str, ...]
    u_units: tuple[str, ...]
    p_names: tuple[str, ...]
    dt: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Certificate:
    """A polytopic set C = {x : H x <= h} that some input always keeps, with its proof.

    Args:
        statement: what it speaks about.
        domain: intervals of state, input and parameters it was computed for.
        inclusion: the models it is proved for.
        found: the set with corners and inputs.
        rows: the rows of its filter and why no others are needed.
        signed_by: public key of the signature that was checked (64 hexadecimal digits), empty when unsigned.
    """

    statement: Statement
    domain: Domain
    inclusion: Inclusion
    found: InvariantSet
    rows: FilterRows
    signed_by: str = ""

    def __repr__(self) -> str:
        said, size = self.statement, f"{len(self.found.h)} facets, {100 * self.share:.1f} % of the box"
        held = f"{self.n_cert} input(s) in a row may be lost" if self.n_cert else "no input may be lost"
        signed = f"signed by {self.signed_by[:8]}" if self.signed_by else "not signed"
        return f"Certificate({said.plant}, ({', '.join(said.x_names)}), {size}, {held}, {signed})"

    @property
    def n_cert(self) -> int:
        """Periods an accepted input may be held beyond its own without leaving the set."""
        return int(self.inclusion.periods.max()) - 1

    @property
    def share(self) -> float:
        """Volume of the set over that of the declared box."""
        return self.found.share

    def safe_set(self, settings: "Settings | None" = None) -> "CertifiedPolytope":
        """Give the set, ready for `SafetyFilter`: one input is clipped, several are projected.

        Args:
            settings: limits of the explicit law of several inputs, None for its own.

        Returns:
            `PolytopicSet` or `ProjectedSet`.
        """
        from .safe_set import PolytopicSet, ProjectedSet

        return PolytopicSet(self) if self.inclusion.nu == 1 else ProjectedSet(self, settings)

    def clip(self) -> ClipFilter:
        """Give the filter of a plant with one input.

        Returns:
            The filter.

        Raises:
            ModelError: a plant of several inputs.
        """
        if self.inclusion.nu != 1:
            raise ModelError("certificate", f"has {self.inclusion.nu} inputs", remedy="use projection()")
        d, rows = self.domain, self.rows
        return clip_from_rows(
            self.found.H, self.found.h, self.inclusion, rows.kept, rows.tightening, d.u_min, d.u_max, d.u_rate
        )

    def projection(self, settings: "Settings | None" = None) -> "ProjectionFilter":
        """Give the filter of a plant with any number of inputs, solved into an explicit law.

        Args:
            settings: limits of the explicit law, None for the filter's own.

        Returns:
            The filter.
        """
        from .projection_filter import ProjectionFilter

        d, rows, found, nu = self.domain, self.rows, self.found, self.inclusion.nu
        G, K, b = held_rows(found.H, found.h, self.inclusion, rows.kept, rows.tightening)
        if d.u_rate.size:
            # The last states are the input sent before: |u - sent| <= u_rate.
            sent, change = np.eye(self.inclusion.nx)[-nu:], np.eye(nu)
            G, K = np.vstack([G, -sent, sent]), np.vstack([K, change, -change])
            b = np.concatenate([b, d.u_rate, d.u_rate])
        low, high = found.vertices.min(axis=0), found.vertices.max(axis=0)
        return ProjectionFilter(G, K, b, d.u_min, d.u_max, found.H, found.h, low, high, settings)

    def arrays(self) -> dict[str, np.ndarray]:
        """Give all numbers by name, as the checker and the file take them."""
        low, high = state_box(self.inclusion, self.domain)
        E = self.inclusion.sensor
        terms = np.array(list(self.inclusion.terms.values())).reshape(-1, *self.inclusion.w.shape)
        every = {"terms": terms, "x_min": low - E, "x_max": high + E}
        for source in (self.found, self.inclusion, self.rows, self.domain):
            for name in _ARRAYS:
                if name not in every and hasattr(source, name):
                    every[name] = np.asarray(getattr(source, name))
        return {name: np.ascontiguousarray(every[name]) for name in _ARRAYS}

    def check(self) -> CheckReport:
        """Check every inequality again, exactly."""
        return check_polytopic(self.arrays(), self.n_cert, self.inclusion.delay, self.domain.u_rate)


def certify(
    statement: Statement, domain: Domain, inclusion: Inclusion, contraction: float = 0.999, max_rows: int = 400
) -> Certificate:
    """Compute set, inputs and filter rows, and check them exactly before anything is returned.

    Args:
        statement: what the certificate speaks about.
        domain: the declared intervals.
        inclusion: the models, bounded on that domain.
        contraction: lambda of the invariant set.
        max_rows: facets before giving up.

    Returns:
        The certificate.

    Raises:
        EmptySetError: there is no invariant set.
        ModelError: the exact check found a row that fails (a larger distance of lambda from 1 helps).
    """
    found = invariant_set(inclusion, domain, contraction, max_rows=max_rows)
    certificate = Certificate(statement, domain, inclusion, found, needed_rows(inclusion, domain, found))
    report = certificate.check()
    if not report.ok:
        raise ModelError("certificate", report.failure, remedy="a smaller contraction")
    return certificate


def save_certificate(
    path: str | Path, certificate: "Certificate | AnalyticCertificate", key: bytes | None = None
) -> None:
    """Write a certificate file.

    Args:
        path: the file.
        certificate: what to write.
        key: private Ed25519 key (32 bytes), or None for an unsigned file.
    """
    write_whole(Path(path), certificate_bytes(certificate, key))


def certificate_bytes(certificate: "Certificate | AnalyticCertificate", key: bytes | None = None) -> bytes:
    """Give a certificate file as bytes, to be kept inside another file.

    Args:
        certificate: what to write.
        key: private Ed25519 key (32 bytes), or None for an unsigned file.

    Returns:
        The bytes of the file.
    """
    from safetensors.numpy import save

    from .analytic_certificate import AnalyticCertificate, analytic_bytes

    if isinstance(certificate, AnalyticCertificate):
        return analytic_bytes(certificate, key)
    header = {
        "kind": KIND, "version": VERSION, "signature": _SIGNATURE, "statement": vars(certificate.statement),
        "terms": list(certificate.inclusion.terms), "n_cert": certificate.n_cert, "delay": certificate.inclusion.delay,
        "u_rate": certificate.domain.u_rate.tolist(),
        "share": certificate.share, "steps": certificate.found.steps,
    }  # fmt: skip
    raw = save(certificate.arrays(), {"yannctl": json.dumps(header)})
    return sign(raw, key) if key is not None else raw


def is_certificate_file(path: str | Path) -> bool:
    """Tell whether a file calls itself a certificate, without judging it.

    Args:
        path: the file.
    """
    from .analytic_certificate import KIND as ANALYTIC_KIND

    try:
        header = header_of(read_bounded(Path(path)))
        return json.loads(header["__metadata__"]["yannctl"])["kind"] in {KIND, ANALYTIC_KIND}
    except (FileFormatError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def load_certificate(path: str | Path, trusted: bytes | None = None) -> "Certificate | AnalyticCertificate":
    """Read a certificate file and prove it again.

    Args:
        path: a file of `save_certificate`.
        trusted: public Ed25519 key (32 bytes) that must have signed the file; None accepts an unsigned one.

    Returns:
        The certificate.

    Raises:
        FileFormatError: a damaged, unsigned or wrongly signed file, or one whose proof does not hold; the row that
            fails is named.
    """
    return read_certificate(read_bounded(Path(path)), str(path), trusted)


def read_certificate(raw: bytes, path: str, trusted: bytes | None = None) -> "Certificate | AnalyticCertificate":
    """Read a certificate from the bytes of its file and prove it again.

    Args:
        raw: the bytes.
        path: where they come from, for messages.
        trusted: public Ed25519 key (32 bytes) that must have signed them; None accepts unsigned ones.

    Returns:
        The certificate.

    Raises:
        FileFormatError: as `load_certificate`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from . import analytic_certificate as analytic

    try:
        header = json.loads(header_of(raw)["__metadata__"]["yannctl"])
        if header["kind"] not in {KIND, analytic.KIND} or header["version"] != VERSION:
            raise FileFormatError(f"{header['kind']} of version {header['version']}, not a {KIND} of {VERSION}")
        signed_by = verify_signature(raw, header["signature"], trusted)
        if header["kind"] == analytic.KIND:
            return analytic.assemble_analytic(load(raw), header, signed_by)
        certificate = _assemble(load(raw), header, signed_by)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except (SafetensorError, YannctlError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{path}: not a certificate or a damaged one ({error})") from error
    report = check_polytopic(
        certificate.arrays(), int(header["n_cert"]), certificate.inclusion.delay, certificate.domain.u_rate
    )
    if not report.ok:
        raise FileFormatError(f"{path}: the proof does not hold: {report.failure}")
    return certificate


def _assemble(tensors: Mapping[str, np.ndarray], header: Mapping[str, Any], signed_by: str) -> Certificate:
    """The certificate from its parts."""
    if set(tensors) != set(_ARRAYS):
        raise FileFormatError(f"tensors {sorted(set(tensors) ^ set(_ARRAYS))} are missing or unknown")
    d, delay = tensors, int(header["delay"])
    nx = d["H"].shape[1] - (d["B"].shape[2] if delay else 0)
    low, high = d["x_min"][:nx], d["x_max"][:nx]
    domain = Domain(low, high, d["u_min"], d["u_max"], d["p_min"], d["p_max"], header.get("u_rate", []))
    terms = dict(zip(header["terms"], d["terms"], strict=True))
    inclusion = Inclusion(d["A"], d["B"], d["c"], d["w"], d["periods"], terms, d["sensor"], delay)
    found = InvariantSet(
        d["H"], d["h"], d["bases"], d["vertices"], d["inputs"], float(header["share"]), int(header["steps"])
    )
    rows = FilterRows(d["kept"], d["implied"], d["proof"], d["weights"], d["tightening"])
    words: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in header["statement"].items()
    }
    return Certificate(Statement(**words), domain, inclusion, found, rows, signed_by)
