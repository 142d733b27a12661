"""Design, verify and evaluate FPGA overlay processors for models that skip computation."""

from importlib.metadata import version

__version__ = version("hwroute")
