"""Read a trace: every operation of a run, the tokens it ran for, and the values that it wrote.

Run: python examples/read_trace.py
"""

import tempfile
from collections import Counter
from pathlib import Path

from hwroute import api
from hwroute.numerics import fp16_to_fp32
from hwroute.skip_map import printable
from hwroute.trace import Trace

PROMPT = "First Citizen:"
TOKENS = 8


def main() -> None:
    """Write a trace file, read it back, and look at it from three sides."""
    model = api.load("tiny")
    result = api.generate(model, PROMPT, TOKENS, on="golden", trace=True)
    assert result.trace is not None
    with tempfile.TemporaryDirectory() as folder:
        # `hwroute generate --trace FILE` writes the same; `hwroute compare` reads two of them.
        file = Path(folder) / "run.trace"
        result.trace.save(file)
        trace = Trace.load(file)

    kinds = Counter(record.operator for record in trace.records)
    print(f"{len(trace.records)} records of program {trace.program[:12]}")
    print("by kind:", ", ".join(f"{name} {count}" for name, count in kinds.most_common()))

    print("\nWhich prompt tokens skipped")
    letters = printable(PROMPT)  # a space as ␣
    for record in trace.records:
        # The prompt is one tile at position 0; each generated token is a tile of its own.
        if record.operator == "decide" and record.position == 0:
            # A plane is one bit a token, True where it executes.
            plane = record.outputs["plane"]
            skipped = [
                letter for letter, executes in zip(letters, plane, strict=True) if not executes
            ]
            print(f"  {record.operation:27} {' '.join(skipped) or '-'}")

    print("\nOne operation: what the FFN of layer 3 adds to the residual of the prompt")
    name = "layers.3.ffn.down"
    record = next(record for record in trace.records if record.operation == name)
    (output,) = record.outputs.values()
    print(f"  ran for tokens {record.rows.tolist()}, wrote {output.dtype} {list(output.shape)}")
    # Vectors are FP16 patterns in uint16, so that a trace holds bits, not numbers.
    for index, pattern in enumerate(output[0, :4]):
        print(f"  [0, {index}]  0x{int(pattern):04x} = {float(fp16_to_fp32(pattern)):.6g}")


if __name__ == "__main__":
    main()
