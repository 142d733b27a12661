"""Known faults, planted in a copy of the emitted Verilog to see that the comparison finds them."""

import re
from dataclasses import dataclass

from hwroute.errors import HwrouteError


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A register that takes a wrong value.

    Parameters
    ----------
    name, unit, summary
        What it is called, the unit it is in, what goes wrong.
    module
        Regular expression for the name of the Verilog module; the first that matches is changed.
    register
        The register, which must be assigned in one place there.
    value
        What it takes instead; ``{}`` stands for the right value.
    """

    name: str
    unit: str
    summary: str
    module: str
    register: str
    value: str

    def plant(self, verilog: str) -> str:
        """Return the Verilog with the fault in it.

        Raises
        ------
        HwrouteError
            There is no such module or no such assignment: the unit has changed, and so must this.
        """
        start = re.search(rf"^module \S*{self.module}[ (]", verilog, re.MULTILINE)
        if start is None:
            raise HwrouteError(f"fault {self.name}: no module matches {self.module!r}")
        end = verilog.index("\nendmodule", start.start())
        body = verilog[start.start() : end]
        pattern = rf"^(\s+{re.escape(self.register)} <= )(.*);$"
        changed, count = re.subn(
            pattern,
            lambda found: f"{found[1]}{self.value.format(f'({found[2]})')};",
            body,
            flags=re.MULTILINE,
        )
        if count != 1:
            raise HwrouteError(
                f"fault {self.name}: {self.register} must be assigned once in {self.module}, "
                f"not {count} times"
            )
        return verilog[: start.start()] + changed + verilog[end:]


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(
            name="array-rounding",
            unit="array",
            summary="the FP32 sums of the first column are one unit in the last place off",
            module=r"hwroute_pair_accumulator\.add_0",
            register="\\packed ",
            value="{} ^ 32'd1",
        ),
        Fault(
            name="reduction-rounding",
            unit="reduction",
            summary="probabilities round to the neighbour of the nearest FP16",
            module=r"hwroute_probability\.narrow",
            register="half",
            value="{} ^ 16'd1",
        ),
        Fault(
            name="npe-rounding",
            unit="npe",
            summary="results of odd lanes round to the neighbour of the nearest FP16",
            module=r"hwroute_vector_pair\.odd_narrow",
            register="half",
            value="{} ^ 16'd1",
        ),
        Fault(
            name="router-count",
            unit="router",
            summary="the count of executing tokens is off by one",
            module=r"harness\.unit",
            register="executed",
            value="{} ^ 9'd1",
        ),
        Fault(
            name="kv-port",
            unit="kv",
            summary="the count by which tokens are dealt to the HBM ports is off by one",
            module=r"\.directory",
            register="dealt[dealt_write__addr]",
            value="{} ^ 1'd1",
        ),
    )
}
"""Faults by name."""
