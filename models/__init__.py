"""Plants, one file each; the class docstring is the data sheet."""

from .pendulum import Pendulum

__all__ = ["Pendulum"]
