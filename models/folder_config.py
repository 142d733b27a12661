"""What a model folder says in `config.json` and `routing.toml`."""

from pathlib import Path
from typing import Any

from hwroute.errors import InputError, nearest
from hwroute.models.library import named_policy
from hwroute.models.tokenizer import VOCABULARY
from hwroute.policy import RoutingPolicy
from hwroute.policy_file import read_policy

FORMAT = 1
"""Version of the folder's format, `hwroute.format` in `config.json`."""
CONFIG, MASTER, INT4, ROUTING = (
    "config.json",
    "model.safetensors",
    "int4.safetensors",
    "routing.toml",
)
FILES = (CONFIG, INT4, MASTER, ROUTING, VOCABULARY)
"""Files of a folder, in the order that its hash takes them."""
KEYS = ("format", "name", "tokenizer", "routers", "kv", "seed")
"""What the table `hwroute` of `config.json` may hold."""
POLICY_OF_KV = {"reuse": "skipgpt", "dense": "skipgpt-dense-kv"}


def read_settings(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the table `hwroute`; a folder straight from Hugging Face has none.

    `where` is what an error calls the file.

    Raises
    ------
    InputError
        The table is of another format or has an unknown key.
    """
    settings = config.get("hwroute")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(f"{where}: hwroute must be a table, not {settings!r}")
    version = settings.get("format")
    if type(version) is not int or version != FORMAT:
        raise InputError(f"{where}: hwroute.format must be {FORMAT}, not {version!r}")
    for key in settings:
        if key not in KEYS:
            raise InputError(
                f"{where}: hwroute.{key} must be a known key{nearest(key, list(KEYS))}"
            )
    for key in ("name", "tokenizer"):
        if not isinstance(settings.get(key, ""), str):
            raise InputError(f"{where}: hwroute.{key} must be a string, not {settings[key]!r}")
    return settings


def policy_of(
    path: Path, settings: dict[str, Any], names: frozenset[str], where: str
) -> RoutingPolicy:
    """Return the policy of `routing.toml`, else the one that `kv` and the routers imply.

    Parameters
    ----------
    path, settings
        The folder and its table `hwroute`.
    names
        Of all tensors.
    where
        What an error calls the configuration.

    Raises
    ------
    InputError
        File and table disagree, or there are routers and nothing says how to use them.
    """
    kv = settings.get("kv")
    if kv is not None and kv not in POLICY_OF_KV:
        raise InputError(f"{where}: hwroute.kv must be one of reuse, dense, not {kv!r}")
    if (path / ROUTING).exists():
        policy = read_policy(path / ROUTING)
        if kv is not None and kv != policy.kv.value:
            raise InputError(
                f"{where}: hwroute.kv must be absent or agree with {ROUTING} "
                f"({policy.kv.value}), not {kv!r}"
            )
        return policy
    routers = settings.get("routers", any("_router." in name for name in names))
    if type(routers) is not bool:
        raise InputError(f"{where}: hwroute.routers must be true or false, not {routers!r}")
    if not routers:
        return named_policy("off")
    if kv is None:
        raise InputError(f"{where}: key hwroute.kv (reuse or dense) is missing: there are routers")
    return named_policy(POLICY_OF_KV[kv])
