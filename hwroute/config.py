"""The one configuration object: it sizes golden model, RTL and performance model alike.

`Numerics` decides bits. Everything else is geometry and never changes a bit of a result.
"""

import tomllib
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from hwroute.errors import InputError, nearest
from hwroute.memory_config import MemoryConfig

T = TypeVar("T")


class Variant(Enum):
    """What is inside a PE column (docs/numerics.md)."""

    ALIGNED = "aligned"
    """Operands are block-aligned once, at the loader; the column is pure integer."""
    OVERPACKED = "overpacked"
    """SkipOPU's variant 2: overpacked FP16 products, aligned after the multiply, 15 bits kept."""


class Rounding(Enum):
    """Rounding of every conversion to FP16 at a unit boundary."""

    NEAREST_EVEN = "nearest-even"
    TOWARD_ZERO = "toward-zero"


class KVFormat(Enum):
    """How a K or V element is stored."""

    FP16 = "fp16"


def _require(condition: bool, thing: str, constraint: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{thing} must be {constraint}, not {value!r}")


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Everything that decides a bit of a result (docs/numerics.md).

    Parameters
    ----------
    variant
        Column variant.
    rounding
        Rounding of conversions to FP16 at unit boundaries.
    block
        Elements of a reduction that share one alignment: the lanes of a column.
    group
        Weights along the reduction that share one FP16 scale.
    kv_format
        Element format of the KV cache.
    """

    variant: Variant = Variant.ALIGNED
    rounding: Rounding = Rounding.NEAREST_EVEN
    block: int = 64
    group: int = 128
    kv_format: KVFormat = KVFormat.FP16

    def __post_init__(self) -> None:
        _require(self.block == 64, "numerics.block", "64 (the lanes of a column)", self.block)
        _require(
            self.group > 0 and self.group % self.block == 0,
            "numerics.group",
            f"a multiple of numerics.block ({self.block})",
            self.group,
        )


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """Geometry of the PE array.

    Parameters
    ----------
    columns
        FP16xINT4 columns. In FP16xFP16 the aligned variant has half as many.
    kv_vectors
        K or V vectors of 64 elements that the array takes a cycle: what the HBM ports deliver,
        each 32 elements a cycle.
    accumulator_rows
        Rows of partial sums, each as wide as the array. 64 is the depth of a LUT RAM and the
        tokens of a prefill block that reuse a tile of weights. 8 are enough for a beat every
        cycle, since an addition returns after 6.
    """

    columns: int = 128
    kv_vectors: int = 16
    accumulator_rows: int = 64

    def __post_init__(self) -> None:
        _require(
            _is_power_of_two(self.columns) and 2 <= self.columns <= 128,
            "array.columns",
            "a power of two from 2 to 128",
            self.columns,
        )
        _require(
            _is_power_of_two(self.kv_vectors) and self.kv_vectors <= self.columns // 2,
            "array.kv_vectors",
            f"a power of two, at most half of array.columns ({self.columns})",
            self.kv_vectors,
        )
        _require(
            _is_power_of_two(self.accumulator_rows) and 8 <= self.accumulator_rows <= 256,
            "array.accumulator_rows",
            "a power of two from 8 to 256",
            self.accumulator_rows,
        )


@dataclass(frozen=True, kw_only=True)
class KVConfig:
    """Geometry of the KV memory system.

    Parameters
    ----------
    hbm_ports
        HBM pseudo-channels that hold K and V; new entries are read one a port and round.
    buffer_read_ports
        Banks of the KV history buffer; each has one output port, which serves one entry a round.
    buffer_write_ports
        Entries that a round may newly retain, each in another bank.
    buffer_tokens
        Entries (K and V of one token and layer) that the history buffer holds.
    entry_beats
        Longest K (or V) vector of an entry, in beats.
    beat_bits
        Width of a port on the core's side. 512 at the core's clock are two 256-bit beats of an HBM
        port at twice that clock.
    max_tokens
        Longest context that masks and directory are sized for.
    max_layers
        Layers that the directory is sized for.
    """

    hbm_ports: int = 32
    buffer_read_ports: int = 16
    buffer_write_ports: int = 16
    buffer_tokens: int = 1024
    entry_beats: int = 128
    beat_bits: int = 512
    max_tokens: int = 4096
    max_layers: int = 32

    def __post_init__(self) -> None:
        for name in ("hbm_ports", "buffer_read_ports", "buffer_write_ports", "buffer_tokens"):
            value = getattr(self, name)
            _require(_is_power_of_two(value), f"kv.{name}", "a power of two", value)
        _require(
            self.buffer_write_ports <= self.buffer_read_ports,
            "kv.buffer_write_ports",
            f"at most kv.buffer_read_ports ({self.buffer_read_ports}): one for each bank",
            self.buffer_write_ports,
        )
        _require(
            self.buffer_tokens >= 2 * self.buffer_read_ports,
            "kv.buffer_tokens",
            f"at least two for each of the kv.buffer_read_ports ({self.buffer_read_ports}) banks",
            self.buffer_tokens,
        )
        _require(self.entry_beats > 0, "kv.entry_beats", "positive", self.entry_beats)
        _require(
            self.beat_bits > 0 and self.beat_bits % 64 == 0,
            "kv.beat_bits",
            "a positive multiple of 64",
            self.beat_bits,
        )
        _require(
            _is_power_of_two(self.max_tokens) and self.max_tokens >= 64,
            "kv.max_tokens",
            "a power of two, at least 64",
            self.max_tokens,
        )
        _require(
            self.max_tokens >= self.hbm_ports,
            "kv.max_tokens",
            f"at least kv.hbm_ports ({self.hbm_ports})",
            self.max_tokens,
        )
        _require(0 < self.max_layers <= 256, "kv.max_layers", "from 1 to 256", self.max_layers)

    @property
    def buffer_banks(self) -> int:
        """Banks of the history buffer: one for each read port."""
        return self.buffer_read_ports

    @property
    def bank_places(self) -> int:
        """Entries that a bank holds."""
        return self.buffer_tokens // self.buffer_banks

    @property
    def port_slots(self) -> int:
        """Slots that an HBM port must have for `max_tokens` tokens at `max_layers` layers."""
        return self.slots_for(self.max_layers, self.max_tokens)

    def slots_for(self, layers: int, tokens: int) -> int:
        """Return the slots of a port for `tokens` tokens at `layers` layers, dealt in turn."""
        return layers * -(-tokens // self.hbm_ports)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One overlay: numerics and geometry.

    Parameters
    ----------
    name
        What reports call it.
    """

    name: str
    numerics: Numerics = field(default_factory=Numerics)
    array: ArrayConfig = field(default_factory=ArrayConfig)
    kv: KVConfig = field(default_factory=KVConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    def __post_init__(self) -> None:
        halved = 2 if self.numerics.variant is Variant.ALIGNED else 1
        parts = self.numerics.block * halved // self.array.columns
        _require(
            parts <= self.array.accumulator_rows,
            "array.accumulator_rows",
            f"at least {parts}, one for each part of a tile of V with {self.array.columns} columns",
            self.array.accumulator_rows,
        )


PRESETS = {
    preset.name: preset
    for preset in (
        Config(
            name="demo",
            array=ArrayConfig(columns=16, kv_vectors=2, accumulator_rows=16),
            kv=KVConfig(
                hbm_ports=4,
                buffer_read_ports=2,
                buffer_write_ports=2,
                buffer_tokens=64,
                entry_beats=8,
                beat_bits=256,
                max_tokens=256,
                max_layers=8,
            ),
            memory=MemoryConfig(
                scratchpad_bytes=64 << 10,
                statistics=512,
                hbm_port_bytes=1 << 20,
                ddr_bytes=1 << 20,
            ),
        ),
        Config(
            name="mid",
            array=ArrayConfig(columns=32, kv_vectors=4, accumulator_rows=32),
            kv=KVConfig(
                hbm_ports=8,
                buffer_read_ports=4,
                buffer_write_ports=4,
                buffer_tokens=256,
                entry_beats=32,
                beat_bits=256,
                max_tokens=1024,
                max_layers=16,
            ),
            memory=MemoryConfig(
                scratchpad_bytes=512 << 10,
                statistics=1024,
                hbm_port_bytes=16 << 20,
                ddr_bytes=64 << 20,
            ),
        ),
        Config(name="u280"),
    )
}
"""Named configurations: `demo` simulates a real model in minutes, `u280` is SkipOPU's size."""


def load(name_or_path: str) -> Config:
    """Return a preset by name, or read a TOML file of `Config` fields.

    A file may name a preset to start from with ``base = "demo"``.

    Raises
    ------
    InputError
        Unknown preset, unreadable file, unknown key, or a value out of range.
    """
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if not path.exists():
        raise InputError(
            f"configuration must be one of {', '.join(PRESETS)} or a TOML file, "
            f"not {name_or_path!r}{nearest(name_or_path, list(PRESETS))}"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} must be a readable TOML file: {error}") from error
    base = values.pop("base", None)
    if base is not None and (not isinstance(base, str) or base not in PRESETS):
        close = nearest(base, list(PRESETS)) if isinstance(base, str) else ""
        raise InputError(f"{path}: base must be one of {', '.join(PRESETS)}, not {base!r}{close}")
    start = PRESETS[base] if base else Config(name=path.stem)
    values.setdefault("name", path.stem)
    try:
        return _merge(start, values, "")
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


def _merge(start: T, values: dict[str, Any], where: str) -> T:
    """Return `start` with `values` laid over it, descending into nested dataclasses."""
    assert is_dataclass(start)
    hints = get_type_hints(type(start))
    known = [item.name for item in fields(start)]
    merged = {name: getattr(start, name) for name in known}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"{where}{key} must be a known key{nearest(key, known)}")
        current = merged[key]
        if is_dataclass(current):
            if not isinstance(value, dict):
                raise TypeError(f"{where}{key} must be a table, not {value!r}")
            merged[key] = _merge(current, value, f"{where}{key}.")
        elif issubclass(hints[key], Enum):
            choices = [choice.value for choice in hints[key]]
            if value not in choices:
                close = nearest(value, choices) if isinstance(value, str) else ""
                expected = f"{where}{key} must be one of {', '.join(choices)}"
                raise ValueError(f"{expected}, not {value!r}{close}")
            merged[key] = hints[key](value)
        elif type(value) is not hints[key]:
            raise TypeError(f"{where}{key} must be of type {hints[key].__name__}, not {value!r}")
        else:
            merged[key] = value
    kind: Any = type(start)
    result: T = kind(**merged)
    return result


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration (or a part of one) as plain values, as TOML and JSON hold them."""

    def plain(value: Any) -> Any:
        if is_dataclass(value):
            return to_dict(value)
        return value.value if isinstance(value, Enum) else value

    return {item.name: plain(getattr(config, item.name)) for item in fields(config)}
