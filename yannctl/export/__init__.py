"""Step 8: what leaves Python: C99 source and controller files."""

from .c_check import CCheck, check_c
from .c_code import CExport, write_c
from .controller_file import ControllerFile, load_controller, save_controller

__all__ = ["CCheck", "CExport", "ControllerFile", "check_c", "load_controller", "save_controller", "write_c"]
