"""Step 2: linear models, by linearisation, from python-control or from matrices."""

from .channels import discretise
from .linear_model import LinearModel
from .linearisation import linearise

__all__ = ["LinearModel", "discretise", "linearise"]
