"""Processor in the loop: exported C cross-compiled, run on an emulated Cortex-M and compared with Python bit by bit."""

from .boards import CPUS, Cpu, missing_tools
from .image import Image, build_image
from .processor import PilReport, verify_on_processor

__all__ = ["CPUS", "Cpu", "Image", "PilReport", "build_image", "missing_tools", "verify_on_processor"]
