"""What ships with the package: routing policies by name, and the folders of the model zoo."""

from pathlib import Path

from hwroute.errors import InputError, nearest
from hwroute.policy import RoutingPolicy
from hwroute.policy_file import read_policy

HERE = Path(__file__).resolve().parent
POLICIES = HERE / "policies"
ZOO = HERE / "zoo"


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
    raise InputError(
        f"model must be a folder with a config.json or one of {', '.join(known)}, not {name!r}"
        f"{nearest(name, known)}"
    )
