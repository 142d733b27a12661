"""Faults of the whole machine, all of them in one copy of its Verilog and chosen at run time."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hwroute.errors import HwrouteError

PACKAGE = "hwroute_fault"
SELECT = f"""\
package {PACKAGE};
  int unsigned select = 0;
endpackage
"""
"""The select input: a package, so that no port of the design changes."""
READ_SELECT = f"""
  initial if (!$value$plusargs("fault=%d", {PACKAGE}::select)) {PACKAGE}::select = 0;
"""

KINDS = (
    "rounding",
    "count",
    "stale state",
    "wrong tie",
    "lost beat",
    "wrong address",
    "swapped lanes",
    "missed reset",
)
"""Classes of faults."""

FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, kw_only=True)
class MachineFault:
    """A register that takes a wrong value in some cases.

    Parameters
    ----------
    name, unit, kind, summary
        What it is called, the unit it is in, one of `KINDS`, what goes wrong.
    module
        Regular expression for the end of the Verilog module's name; all its instances are changed.
    register
        The register, as it stands on the left of its one assignment there.
    value
        Verilog expression; ``right`` stands for the right value and ``old`` for the register.
    """

    name: str
    unit: str
    kind: str
    module: str
    register: str
    value: str
    summary: str

    def find(self, verilog: str) -> re.Match[str]:
        """Return the assignment: groups for all up to its value, the register and the value.

        Raises
        ------
        HwrouteError
            There is not exactly one such module, or no single assignment of a plain value: the
            machine has changed, and so must this.
        """
        starts = list(re.finditer(rf"^module \S*{self.module}[ (]", verilog, re.MULTILINE))
        if len(starts) != 1:
            raise HwrouteError(f"fault {self.name}: {len(starts)} modules match {self.module!r}")
        start = starts[0].start()
        end = verilog.index("\nendmodule", start)
        pattern = re.compile(
            rf"^(\s+({re.escape(self.register)}) ?<= )(\\\S+ (?:\[[^]]*\] ?)?|\w+);$", re.MULTILINE
        )
        found = list(pattern.finditer(verilog, start, end))
        if len(found) != 1:
            raise HwrouteError(
                f"fault {self.name}: {self.register} must be assigned once in {self.module}, "
                f"not {len(found)} times"
            )
        return found[0]

    def faulty(self, register: str, right: str) -> str:
        """Return the wrong value as Verilog."""
        names = {"right": right, "old": register}
        return re.sub(r"\b(right|old)\b", lambda word: names[word[1]], self.value)


def load_faults(file: Path = FILE) -> list[MachineFault]:
    """Return the faults of a table, in its order."""
    with file.open("rb") as stream:
        return [MachineFault(**entry) for entry in tomllib.load(stream)["fault"]]


def plant(verilog: str, faults: Iterable[MachineFault]) -> str:
    """Return the machine's Verilog with a multiplexer for each fault.

    Number n of the faults, from 1, is there in a run with the argument ``+fault=n``; none is in a
    run without it or with 0. The module that comes first reads the argument.
    """
    found = [(fault.find(verilog), fault, number) for number, fault in enumerate(faults, 1)]
    end = verilog.index(";", verilog.index("\nmodule ")) + 1
    pieces = [SELECT, verilog[:end], READ_SELECT]
    values: dict[int, str] = {}
    for place, fault, number in sorted(found, key=lambda item: item[0].start()):
        begin, right = place.start(3), place[3]
        if begin in values:  # two faults of one register: one multiplexer behind the other
            right = values[begin]
            pieces.pop()
        else:
            pieces.append(verilog[end:begin])
        wrong = fault.faulty(place[2], place[3])
        values[begin] = f"{PACKAGE}::select == {number} ? ({wrong}) : ({right})"
        pieces.append(values[begin])
        end = place.end(3)
    return "".join([*pieces, verilog[end:]])
