"""Training objectives by spec string: losses of scores, and terms that compare class maps."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from heads.spec import create, parse_sum
from wsl.errors import UserError
from wsl.models.create_head import user_errors
from wsl.training.objectives._objective import Objective, Pass, divisor
from wsl.training.objectives.asymmetric import Asymmetric
from wsl.training.objectives.bce import BCE, binary_cross_entropy
from wsl.training.objectives.cross_entropy import CrossEntropy
from wsl.training.objectives.equivariance import Equivariance
from wsl.training.objectives.puzzle import Puzzle
from wsl.training.objectives.recam import ReCAM
from wsl.training.objectives.soft_margin import SoftMargin
from wsl.training.objectives.sum import ObjectiveSum

__all__ = [
    "BCE",
    "OBJECTIVES",
    "Asymmetric",
    "CrossEntropy",
    "Equivariance",
    "Objective",
    "ObjectiveSum",
    "Pass",
    "Puzzle",
    "ReCAM",
    "SoftMargin",
    "binary_cross_entropy",
    "create_objective",
    "divisor",
    "list_objectives",
]

OBJECTIVES: Mapping[str, type[Objective]] = MappingProxyType(
    {
        "bce": BCE,
        "soft-margin": SoftMargin,
        "cross-entropy": CrossEntropy,
        "asymmetric": Asymmetric,
        "recam": ReCAM,
        "equivariance": Equivariance,
        "puzzle": Puzzle,
    }
)
"""All objectives by name; every other list of them is derived from this one."""


def list_objectives() -> list[str]:
    """The names that `create_objective` knows.

    >>> "asymmetric" in list_objectives()
    True
    """
    return list(OBJECTIVES)


def create_objective(spec: str, **sizes: int) -> ObjectiveSum:
    """Create the sum of objectives that a spec string names, with exactly one loss of scores.

    `sizes` are the numbers of ``classes`` and of ``channels`` of the features, for terms with weights.

    Raises:
        UserError: the spec is empty, a name or an argument is unknown, a value is out of range, or there is not exactly
            one loss of scores.

    >>> create_objective("bce + puzzle(alpha=4)")
    bce + puzzle(tiles=2, alpha=4, ramp=0.5)
    >>> create_objective("bec")
    Traceback (most recent call last):
    wsl.errors.UserError: unknown loss 'bec': did you mean 'bce'?
    """
    with user_errors():
        terms = [create(term, OBJECTIVES, "loss", sizes=sizes) for term in parse_sum(spec, "loss", OBJECTIVES)]
    losses = [term for term in terms if term.classifies]
    if len(losses) != 1:
        names = ", ".join(name for name, kind in OBJECTIVES.items() if kind.classifies)
        raise UserError(
            f"--loss {spec!r} has {len(losses)} losses of scores: expected exactly one of {names} in the sum"
        )
    return ObjectiveSum(terms)
