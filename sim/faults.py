"""Faults to plant in emitted Verilog, to see that the comparison finds them."""

import re
from dataclasses import dataclass

from hwroute.errors import HwrouteError


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A change of one place in a unit's Verilog.

    Parameters
    ----------
    name, unit, summary
        What it is called, where it is, what it does.
    pattern, replacement
        Regular expression that matches once, and what stands there instead.
    """

    name: str
    unit: str
    summary: str
    pattern: str
    replacement: str

    def plant(self, verilog: str) -> str:
        """Return the Verilog with the fault in it.

        Raises
        ------
        HwrouteError
            The pattern does not match exactly once: the unit has changed, and so must this.
        """
        changed, count = re.subn(self.pattern, self.replacement, verilog)
        if count != 1:
            raise HwrouteError(
                f"fault {self.name} must match one place of the Verilog, not {count}"
            )
        return changed


FAULTS: dict[str, Fault] = {}
