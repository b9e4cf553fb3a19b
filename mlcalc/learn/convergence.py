"""When learning has converged: what a sceptic would ask for, checked on structures that no training has seen."""

import math

from mlcalc.learn.observables import differing
from mlcalc.learn.settings import LearnSettings


def unmet(settings: LearnSettings, records: list[dict]) -> list[str]:
    """What the last round lacks, one sentence each; empty if learning has converged.

    Args:
        records: Of all rounds, as rounds.make_round writes them.

    Asked for are: the mean error of force components on fresh structures, of P beads and classical, at most the target with its
    standard error added; all fresh structures labelled; no guard spoke at the temperature of interest; potential energy and bond
    width as in the round before, within three standard errors.
    """
    last, texts = records[-1], []
    known = {group["kind"] for group in last["errors"]}
    for beads in settings.bead_counts:
        if f"beads {beads}" not in known:
            texts.append(f"no errors of fresh structures (beads {beads}): guards stopped all runs in their first fifth")
    for group in last["errors"]:
        error = group["mae_error"]
        if error is None or math.isnan(error) or not group["mae"] + error <= settings.target_meV_A:
            shown = "unknown" if error is None else f"{error:.1f}"
            texts.append(
                f"the error of fresh structures ({group['kind']}) is {group['mae']:.1f} ± {shown} meV/Å, the target "
                f"{settings.target_meV_A:g} with the standard error added"
            )
    if last["failed"]:
        texts.append(f"the engine could not compute {last['failed']} of the fresh structures")
    for run in last["runs"]:
        if run["guard"] and math.isclose(run["temperature_K"], settings.temperature_K):
            texts.append(f"a guard stopped {run['run']}: {run['guard']}")
    if len(records) < 2:
        texts.append("only one round: observables cannot be compared with the round before")
    elif not last["observables"] or not records[-2]["observables"]:
        texts.append("observables are not known in the last two rounds")
    else:
        texts += differing(records[-2]["observables"], last["observables"])
    return texts
