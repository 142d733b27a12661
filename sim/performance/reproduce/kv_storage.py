"""K/V storage: slots that are written, of one for each token and layer."""

from dataclasses import replace

from hwroute.models.folder import ModelFolder
from hwroute.models.library import model_path
from hwroute.models.reference import Reference
from hwroute.policy_terms import KVRule
from hwroute.sim.performance.executor import Setup
from hwroute.sim.performance.reproduce.cases import Case, dealt
from hwroute.sim.performance.reproduce.paper import load_paper
from hwroute.sim.performance.reproduce.rows import Row, Section, paragraphs
from hwroute.sim.performance.workload import Workload, recorded

NAME = "kv-storage"
LENGTHS = (128, 256, 512, 1024)
RECORDED = "tiny"
"""The zoo's model whose own routers decide."""
TEXT = "heldout.txt"
FIGURES = load_paper().figures(NAME)


def kv_storage(case: Case, *, lengths: tuple[int, ...] = LENGTHS) -> Section:
    """Deal the slots of some lengths and count those that nobody needs.

    Parameters
    ----------
    case
        Model and machine.
    lengths
        Tokens.
    """
    fitting = case.fitting(lengths)
    setups = [case.setup(length, 1) for length in fitting]
    saved = [100 * _saved(setup) for setup in setups]
    own, source = _recorded(case)
    return Section(
        name=NAME,
        title="K/V storage",
        about=paragraphs(
            f"""
            {case.name}, K/V rule {case.kv.value}; {setups[-1].workload.assumption}.

            {RECORDED}: {source}.

            Slots that the K/V unit gives, of one for each token and layer. This follows from the
            decisions and the rule alone and says nothing of a machine.
            """
        ),
        rows=(
            Row.of(
                FIGURES["saved"],
                max(saved),
                note="ours is the largest below; attention of the first layer always executes",
            ),
            *(
                Row(what=f"{case.name}, {length} tokens", unit="%", ours=share)
                for length, share in zip(fitting, saved, strict=True)
            ),
            Row(what=f"{RECORDED}, decisions of its routers", unit="%", ours=own),
            Row(
                what="exponents beside each slot, of K and V",
                unit="%",
                ours=100 * _exponents(setups[-1]),
                note="of blocks of K and V elements, which our column aligns to; the savings above "
                "do not count them",
            ),
        ),
    )


def _saved(setup: Setup) -> float:
    """Return the share of slots that are never given."""
    layers, _, tokens = setup.workload.executed.shape
    return float(1 - dealt(setup).directory.slots_used() / (layers * tokens))


def _exponents(setup: Setup) -> float:
    """Return the beats of exponents of a slot over those of K and V."""
    slot = next(one for one in setup.program.instructions if one.name == "kv.map")
    return float(slot["exponents"] / (2 * slot["vector"]))


def _recorded(case: Case) -> tuple[float, str]:
    """Return per cent saved with the decisions of a model with weights, and what decided."""
    model = ModelFolder(model_path(RECORDED))
    assert model.tokenizer is not None, "the zoo's model has a tokeniser"
    text = (model.path / TEXT).read_text(encoding="utf-8")
    ids = model.tokenizer.encode(text)[: model.shape.context - 1]
    reference = Reference(model)
    reference.forward(ids)
    workload: Workload = recorded(ids, reference.decisions, source=f"{RECORDED} on {TEXT}")
    policy = replace(model.policy, kv=KVRule.REUSE)
    own = Case(name=RECORDED, shape=model.shape, policy=policy, config=case.config)
    setup = replace(own.setup(len(ids), 1), workload=workload)
    return 100 * _saved(setup), f"{workload.assumption}, {len(ids)} tokens"
