"""What Vivado needs beside Verilog: a project and the clocks."""

from collections.abc import Mapping, Sequence

PROJECT = """\
# Makes a project and runs synthesis out of context: vivado -mode batch -source {top}.tcl
set folder [file dirname [file normalize [info script]]]
create_project {top} $folder/{top} -part {part} -force
add_files -norecurse [list \\
{files}
]
# Immediate assertions, which synthesis passes over, are SystemVerilog.
set_property file_type SystemVerilog [get_files *.v]
add_files -fileset constrs_1 -norecurse $folder/{top}.xdc
set_property top {top} [current_fileset]
set_property -name {{STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS}} -value {{-mode out_of_context}} \\
  -objects [get_runs synth_1]
launch_runs synth_1 -jobs 4
wait_on_run synth_1
open_run synth_1
report_utilization -file $folder/{top}_utilization.txt
report_timing_summary -file $folder/{top}_timing.txt
"""


def project_tcl(*, top: str, files: Sequence[str], part: str) -> str:
    """Return the script that makes a project of files beside it and synthesises it.

    Parameters
    ----------
    top
        Module.
    files
        Verilog, relative to the script.
    part
        Vendor's name of the device.
    """
    listed = "\n".join(f"  $folder/{name} \\" for name in files)
    return PROJECT.format(top=top, part=part, files=listed)


def clocks_xdc(clocks: Mapping[str, float]) -> str:
    """Return the constraints of clocks that have nothing to do with each other.

    What crosses from one to another does so through Gray counters and synchronisers
    (`hwroute.rtl.async_stream`): their bits may differ in delay by less than a period of the faster
    clock, which bounds each path.

    Parameters
    ----------
    clocks
        MHz by port.
    """
    periods = {port: 1e3 / mhz for port, mhz in clocks.items()}
    lines = ["# Periods and delays in ns."]
    lines += [
        f"create_clock -name {port} -period {period:.3f} [get_ports {port}]"
        for port, period in periods.items()
    ]
    lines += [
        f"set_max_delay -datapath_only -from [get_clocks {one}] -to [get_clocks {other}] "
        f"{min(periods.values()):.3f}"
        for one in periods
        for other in periods
        if one != other
    ]
    return "\n".join(lines) + "\n"
