"""Plants, one file each; the class docstring is the data sheet."""

from .cstr import CSTR
from .differential_drive import DifferentialDrive
from .pendulum import Pendulum
from .runaway_reactor import RunawayReactor

__all__ = ["CSTR", "DifferentialDrive", "Pendulum", "RunawayReactor"]
