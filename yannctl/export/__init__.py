"""Step 8: what leaves Python: C99 source, ONNX graphs and controller files."""

from .c_check import CCheck, check_c
from .c_code import CExport, write_c
from .controller_file import ControllerFile, load_controller, save_controller
from .onnx_graph import OnnxExport, write_onnx
from .policy_file import load_policy, save_policy

__all__ = [
    "CCheck",
    "CExport",
    "ControllerFile",
    "OnnxExport",
    "check_c",
    "load_controller",
    "load_policy",
    "save_controller",
    "save_policy",
    "write_c",
    "write_onnx",
]
