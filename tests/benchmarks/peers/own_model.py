"""The problem as a model of mlcalc."""

from common import Problem

from mlcalc.architectures import ARCHITECTURES
from mlcalc.model import Model
from mlcalc.priors import PRIORS


def model_of(problem: Problem) -> Model:
    """Weights, architecture and priors of the problem."""
    config = problem.config | {"elements": tuple(problem.config["elements"])}
    priors = {name: PRIORS[name].config(**given) for name, given in problem.priors.items()}
    return Model(ARCHITECTURES[problem.architecture].config(**config), problem.weights, priors=priors)
