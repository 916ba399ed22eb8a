"""Step 2: linear models, by linearisation, from python-control or from matrices."""

from .channels import discretise
from .identification import Identification
from .linear_model import LinearModel
from .linearisation import linearise

__all__ = ["Identification", "LinearModel", "discretise", "linearise"]
