"""Programs: compile them, write and read them as text, make the memories that they start with."""

from pathlib import Path

from hwroute.api.models import load
from hwroute.checkpoint import Checkpoint
from hwroute.compiler import compile_program
from hwroute.compiler.compile import lower
from hwroute.config import PRESETS, Config
from hwroute.errors import InputError
from hwroute.isa.assembly import from_text
from hwroute.isa.disassembly import to_text
from hwroute.models.image import Image, build_image
from hwroute.models.library import SHAPE_POLICY, model_shape, named_policy, shape_names
from hwroute.policy import RoutingPolicy
from hwroute.program import Program
from hwroute.shape import ModelShape


def compile_model(
    model: str,
    *,
    config: Config = PRESETS["demo"],
    policy: RoutingPolicy | None = None,
    context: int | None = None,
) -> Program:
    """Compile a model to the overlay's Program, for which no weights are needed.

    Parameters
    ----------
    model
        Zoo name, model folder, name of a shape that ships, or a Hugging Face ``config.json``.
    config
        The overlay.
    policy
        Instead of the model's own; a shape has `SHAPE_POLICY`.
    context
        Tokens to make room for; by default as many as fit model and overlay.

    Raises
    ------
    InputError
        No such model, a policy that the overlay does not run, or a memory that is too small.
    """
    shape, own, name = shape_and_policy(model)
    return compile_program(shape, policy or own, config, model=name, context=context)


def shape_and_policy(model: str) -> tuple[ModelShape, RoutingPolicy, str]:
    """Return shape, policy and name of a model, with or without weights."""
    if model in shape_names():
        return model_shape(model), named_policy(SHAPE_POLICY), model
    if Path(model).is_file():
        # Every config.json has the same name; its folder says which one it is.
        return model_shape(model), named_policy(SHAPE_POLICY), Path(model).resolve().parent.name
    folder = load(model)
    return folder.shape, folder.policy, folder.name


def draw_scratchpad(
    model: str,
    path: Path,
    *,
    config: Config = PRESETS["demo"],
    policy: RoutingPolicy | None = None,
    context: int | None = None,
) -> None:
    """Draw the buffers of the middle layer in prefill; parameters as in `compile_model`.

    Raises
    ------
    InputError
        As `compile_model`; or `path` is no .png or .svg file that can be written.
    """
    from hwroute.compiler.picture import save_scratchpad_picture

    shape, own, _ = shape_and_policy(model)
    lowered = lower(shape, policy or own, config, context=context)
    save_scratchpad_picture(lowered, shape.layers // 2, path)


def make_image(program: Program, model: Checkpoint) -> Image:
    """Return what HBM and DDR hold before a Program of the model starts.

    Raises
    ------
    InputError
        The model has no INT4 weights, a tensor is broken, or its shape is not the Program's.
    """
    return build_image(program, model)


def assemble(path: Path) -> Program:
    """Return the Program that a listing describes; see `hwroute.isa.disassembly`.

    Raises
    ------
    InputError
        The file is unreadable, or something in it is wrong: the line, and what.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be a readable listing: {error}") from error
    return from_text(text, str(path))


def disassemble(program: Program | Path) -> str:
    """Return the listing of a Program, or of a program file.

    Raises
    ------
    InputError
        The file is no whole program file, or holds a malformed word.
    """
    return to_text(program if isinstance(program, Program) else Program.load(program))
