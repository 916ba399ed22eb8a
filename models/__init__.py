"""Plants, one file each; the class docstring is the data sheet."""

from .cstr import CSTR
from .differential_drive import DifferentialDrive
from .pendulum import Pendulum

__all__ = ["CSTR", "DifferentialDrive", "Pendulum"]
