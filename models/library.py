"""What ships with the package, by name: routing policies, shapes of models, the model zoo."""

from pathlib import Path

from hwroute.errors import InputError, nearest
from hwroute.hf_config import read_config, shape_from_hf
from hwroute.policy import RoutingPolicy
from hwroute.policy_file import read_policy
from hwroute.shape import ModelShape

HERE = Path(__file__).resolve().parent
POLICIES = HERE / "policies"
SHAPES = HERE / "shapes"
ZOO = HERE / "zoo"
SHAPE_POLICY = "skipgpt"
"""What a shape is compiled for, which has no routing of its own."""


def policy_names() -> list[str]:
    """Return the names of the policies that ship, sorted."""
    return sorted(path.stem for path in POLICIES.glob("*.toml"))


def named_policy(name: str) -> RoutingPolicy:
    """Return a policy that ships, or read a TOML file.

    Raises
    ------
    InputError
        Neither; the message gives the nearest name. Or the file is no policy.
    """
    known = policy_names()
    if name in known:
        return read_policy(POLICIES / f"{name}.toml")
    if Path(name).is_file():
        return read_policy(Path(name))
    raise InputError(
        f"policy must be a TOML file or one of {', '.join(known)}, not {name!r}"
        f"{nearest(name, known)}"
    )


def shape_names() -> list[str]:
    """Return the names of the published models whose shapes ship, sorted; they have no weights."""
    return sorted(path.stem for path in SHAPES.glob("*.json"))


def model_shape(name: str) -> ModelShape:
    """Return a shape that ships, or that of a Hugging Face `config.json`.

    Raises
    ------
    InputError
        Neither; the message gives the nearest name. Or the file is broken or not handled.
    """
    known = shape_names()
    path = SHAPES / f"{name}.json" if name in known else Path(name)
    if not path.is_file():
        raise InputError(
            f"shape must be a config.json or one of {', '.join(known)}, not {name!r}"
            f"{nearest(name, known)}"
        )
    return shape_from_hf(read_config(path), str(path))


def zoo_names() -> list[str]:
    """Return the names of the models that ship, sorted."""
    return sorted(path.parent.name for path in ZOO.glob("*/config.json"))


def model_path(name: str) -> Path:
    """Return the folder of a model: a zoo name, or a path with a `config.json` in it.

    Raises
    ------
    InputError
        Neither; the message gives the nearest name.
    """
    known = zoo_names()
    if name in known:
        return ZOO / name
    if (Path(name) / "config.json").is_file():
        return Path(name)
    shapes = shape_names()
    if name in shapes:
        raise InputError(f"model must have weights, not {name!r}: it is a shape, to compile only")
    raise InputError(
        f"model must be a folder with a config.json or one of {', '.join(known)}, not {name!r}"
        f"{nearest(name, known + shapes)}"
    )
