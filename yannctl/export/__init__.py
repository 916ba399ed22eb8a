"""Step 8: what leaves Python: C99 source, ONNX graphs and controller files."""

from .c_check import CCheck, check_c
from .c_code import CExport, write_c
from .clip_tables import ClipTables
from .controller_file import ControllerFile, attach_certificate, certificate_of, load_controller, save_controller
from .controller_parts import certified_clip, controller_parts, controller_tensors, read_parts
from .onnx_graph import OnnxExport, write_onnx
from .policy_file import load_policy, save_policy
from .residual_tables import ResidualTables

__all__ = [
    "CCheck",
    "CExport",
    "ClipTables",
    "ControllerFile",
    "OnnxExport",
    "ResidualTables",
    "attach_certificate",
    "certificate_of",
    "certified_clip",
    "check_c",
    "controller_parts",
    "controller_tensors",
    "load_controller",
    "load_policy",
    "read_parts",
    "save_controller",
    "save_policy",
    "write_c",
    "write_onnx",
]
