"""Actors as ONNX graphs, learned part included, compared with the module they came from before they are kept.

onnxruntime has no error function in double precision, so the GELU of a double-precision net is written with the scaled
complementary error function as a Chebyshev series: the same values to 1e-15.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import ModelError, NotInstalledError
from yannctl.files import write_whole
from yannctl.pwa.law import PwaLaw

if TYPE_CHECKING:
    from torch import nn

PARITY = 1e-6  # largest difference from the module, relative to its largest output
SINGLE = 64  # roundings that a learned part's sums in another order may cost, relative to the largest output
OPSET = 20
TERMS = 28  # of the Chebyshev series: 1e-16
LARGE = 2.0**40


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Args:
        path: the file.
        n_bytes: its size.
        opset: version of the operators.
        dtype: type of input and output, "float64" or "float32".
        max_error: largest |onnxruntime - module| [output unit], NaN where it was not compared.
        tolerance: what was allowed.
        n_points: points compared.
        ok: True when the difference is within the tolerance, or was not to be compared.
    """

    path: Path
    n_bytes: int
    opset: int
    dtype: str
    max_error: float
    tolerance: float
    n_points: int
    ok: bool


def write_onnx(
    policy: "nn.Module",
    path: str | Path,
    law: PwaLaw | None = None,
    check: bool = True,
    n_points: int = 10_000,
    seed: int = 0,
) -> OnnxExport:
    """Write an actor as an ONNX graph `x (batch, nx) -> u (batch, nu)`, physical units, any batch size.

    Args:
        policy: what `encode_actor` or `extend` made.
        path: the file, replaced in one step; it is not written when the comparison fails.
        law: the law behind it, None to take the policy's own.
        check: compare with onnxruntime at random points, corners and facets of the law.
        n_points: points to compare at.
        seed: of the points.

    Returns:
        What was written; `ok` is False, and no file is there, where onnxruntime gives other values.

    Raises:
        ModelError: no law stands behind the policy.
        NotInstalledError: the packages of `pip install yannctl[onnx]` are missing.
    """
    import torch

    law = law or _law_behind(policy)
    types = [t.dtype for t in (*policy.parameters(), *policy.buffers()) if t.is_floating_point()]
    dtype = torch.float64 if torch.float64 in types else types[0]  # a law may be finer than what was learned on it
    model = _graph(policy, torch.zeros(3, law.ntheta, dtype=dtype))
    _describe(model, law)
    raw = model.SerializeToString()
    error, tolerance, compared = float("nan"), float("nan"), 0
    if check:
        points = _points(law, n_points, seed)
        with torch.no_grad():
            wanted = policy(torch.as_tensor(points).to(dtype)).numpy()
        found = _session(raw).run(None, {"x": points.astype(wanted.dtype)})[0]
        error, compared = float(np.abs(found - wanted).max()), len(points)
        tolerance = _tolerance(policy, wanted)
    ok = not check or error <= tolerance
    if ok:
        write_whole(Path(path), raw)
    name = str(dtype).removeprefix("torch.")
    return OnnxExport(Path(path), len(raw), OPSET, name, error, tolerance, compared, ok)


def _law_behind(policy: "nn.Module") -> PwaLaw:
    from yannctl.yann.explanation import law_behind

    return law_behind(policy)[0]


def _tolerance(policy: Any, wanted: np.ndarray) -> float:
    """`PARITY` of the largest output; in single precision what a learned part's sums in another order may cost."""
    size = float(np.abs(wanted).max())
    learned = SINGLE * float(np.finfo(wanted.dtype).eps) if hasattr(policy, "learned") else 0.0
    return max(PARITY, learned) * size


def _points(law: PwaLaw, n_points: int, seed: int) -> np.ndarray:
    """Random points, corners and facets, in single precision so that both types see the same ones."""
    from yannctl.yann.verification import verification_points

    rng = np.random.default_rng(seed)
    points = verification_points(law, n_points, n_points // 5, rng)
    points = points[rng.permutation(len(points))[: max(n_points, 1)]]
    return points.astype(np.float32).astype(float)


def _graph(policy: "nn.Module", example: Any) -> Any:
    """Export the module in inference mode, and return the model."""
    import torch

    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise NotInstalledError(f"{error.name} is missing; pip install 'yannctl[onnx]'") from error
    module = _without_double_gelu(copy.deepcopy(policy)).eval().requires_grad_(False)
    batch = torch.export.Dim("batch", min=1, max=1 << 30)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            input_names=["x"],
            output_names=["u"],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise ModelError("policy", "torch could not export it")
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about packages that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _describe(model: Any, law: PwaLaw) -> None:
    """State names and the box the law holds on."""
    texts = {
        "producer": "yannctl",
        "x_names": ", ".join(law.theta_names or ()),
        "u_names": ", ".join(law.out_names or ()),
        "x_min": ", ".join(map(repr, law.theta_min.tolist())),
        "x_max": ", ".join(map(repr, law.theta_max.tolist())),
    }
    for key, value in texts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def _session(raw: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def _without_double_gelu(module: Any) -> Any:
    """Replace the GELU of double-precision nets by one that needs no error function."""
    import torch
    from torch import nn

    doubles = any(parameter.dtype == torch.float64 for parameter in module.parameters())
    for parent in module.modules():
        for name, child in parent.named_children():
            if doubles and isinstance(child, nn.GELU):
                setattr(parent, name, _double_gelu())
    return module


def _double_gelu() -> Any:
    """GELU `x (1 + erf(x/sqrt 2))/2`; `erf|z| = 1 - exp(-z^2) erfcx(|z|)`, erfcx a series in `4/(2+|z|) - 1`."""
    import torch
    from numpy.polynomial import chebyshev
    from scipy.special import erfcx
    from torch import nn

    def scaled(s: np.ndarray) -> Any:
        t = (np.asarray(s) + 1) / 2
        return np.where(t > 0, erfcx(2 / np.maximum(t, 1e-300) - 2), 0.0)

    class DoubleGelu(nn.Module):
        """The constants are tensors: the exporter rounds numbers of Python to single precision.

        It also drops sums with less than 1e-8, so the series is scaled by 2^40, which rounds nothing.
        """

        series: torch.Tensor
        root: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("series", torch.from_numpy(LARGE * chebyshev.chebinterpolate(scaled, TERMS)))
            self.register_buffer("root", torch.tensor(2**-0.5, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = x * self.root
            size = z.abs()
            s = 4.0 / (2.0 + size) - 1.0
            ahead, behind = torch.zeros_like(s), torch.zeros_like(s)
            for value in self.series[1:].flip(0).unbind():  # Clenshaw's recurrence
                ahead, behind = 2.0 * s * ahead - behind + value, ahead
            tail = torch.exp(-size * size) * ((s * ahead - behind + self.series[0]) / LARGE)
            return x * torch.where(z > 0, 2.0 - tail, tail) / 2.0

    return DoubleGelu()
