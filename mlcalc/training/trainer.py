"""Training: energies and forces of labelled structures to a model file."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from mlcalc.architectures.torch_blocks import Network
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.model import Model
from mlcalc.model_file import load_model, save_model
from mlcalc.outputs import outputs_with
from mlcalc.readouts import check_readouts
from mlcalc.torch_potential import model_of, network_of
from mlcalc.training.compilation import compiled
from mlcalc.training.dataset import Batch, Batches, Dataset, frame_weights
from mlcalc.training.domain import automatic_repulsion, check_known, check_priors, domain_of
from mlcalc.training.energy_zero import composition, describe, energy_levels, fit_zeros
from mlcalc.training.first_network import first_network
from mlcalc.training.loss import Term, batch_loss, predicted
from mlcalc.training.muon import make_optimizers
from mlcalc.training.padding import Largest, padded
from mlcalc.training.schedule import frame_order, learning_rate
from mlcalc.training.settings import TrainingSettings, split_frames
from mlcalc.training.state import save_state
from mlcalc.training.validation import Deviations

MODEL_FILE, STATE_FILE, LOG_FILE = "model.safetensors", "state.safetensors", "log.jsonl"


class Trainer:
    """One training run: network, optimiser, moving average and how far they have come."""

    def __init__(
        self,
        settings: TrainingSettings,
        dataset: Dataset,
        init: Model | None = None,
        origin: Model | None = None,
        priors: dict[str, Any] | None = None,
    ):
        """``init``: weights to start from; ``origin``: the model that the training wrote before or starts from.

        ``priors``: Those of the settings' file of priors, by name.
        """
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings, self.dataset = settings, dataset
        cuda = torch.cuda.is_available()
        if settings.device == "cuda" and not cuda:
            raise InputError("device = 'cuda': torch finds no CUDA device here; use 'auto' or 'cpu'")
        self.device = "cuda" if cuda and settings.device != "cpu" else "cpu"
        self.dtype = getattr(torch, settings.precision)
        self.split = split_frames(dataset, settings)
        self.weights = frame_weights(dataset, settings.weight_key) if settings.weight_key else None
        # Features, energies and forces stay those of the model to start from; so does what is known of them.
        self._origin = origin if settings.only_readouts else None
        if self._origin:
            check_known(dataset, self._origin.config.elements, self._origin.domain)
            self.domain = self._origin.domain
        else:
            self.domain = domain_of(dataset, self.split.train, settings.cutoff_A)
        self.levels = energy_levels(dataset, settings.energy_zeros, settings.data)
        elements = self._origin.config.elements if self._origin else sorted({int(z) for z in dataset.numbers})
        if origin is None:
            repulsion = automatic_repulsion(dataset, self.domain, settings.cutoff_A)
        else:
            repulsion = origin.priors["repulsion"].cutoff if "repulsion" in origin.priors else None
        network_config, self.priors = settings.network_config(elements), settings.priors(repulsion) | (priors or {})
        check_priors(dataset, network_config, self.priors)
        if init is not None and (init.config, init.priors) != (network_config, self.priors):
            raise InputError(
                f"--init: its architecture {_shown(init.config, init.priors)} is not the configured one "
                f"{_shown(network_config, self.priors)}"
            )
        check_readouts(network_config, settings.readouts)
        if init is not None and (more := set(init.readouts) - set(settings.readouts)):
            raise InputError(f"--init: the model has the readouts {', '.join(sorted(more))}: add them to readouts")
        self._check_scalar(origin if init is None else init)
        self.outputs = outputs_with(settings.scalar)
        self.charge = float(self.domain.get("charge", 0))
        network = first_network(
            settings, network_config, dataset, self.split.train, self.weights, self.levels.of_frame, init
        )
        self.network = network.to(self.device)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith("readouts.") or not settings.only_readouts)
        self.zeros = self._energy_zeros()
        self.batches = self._make_batches()
        # What the fit leaves of the constant of each level is learnt with the weights.
        self.offsets = torch.nn.Parameter(torch.zeros(len(self.zeros), dtype=self.dtype, device=self.device))
        self.average: Any = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
        learnt = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        self.optimizers = make_optimizers(settings, [*learnt, ("offsets", self.offsets)])
        self._terms = self._make_terms()
        self._compared = [name for name, labels in dataset.labels.items() if np.isfinite(labels).any()]
        if settings.only_readouts:
            self._compared = list(self._terms)
        self.step, self.best, self.since_best = 0, math.inf, 0
        self.parameters = {**dict(self.network.named_parameters()), "offsets": self.offsets}

    def _check_scalar(self, model: Model | None) -> None:
        if model and model.scalar and model.scalar != self.settings.scalar:
            raise InputError(
                f"scalar_key = {self.settings.scalar_key!r}: the model to start from or to resume learnt {model.scalar.key}"
            )

    def describe(self) -> str:
        """The split of the frames, and the zeros of energy that were fitted."""
        text = self.split.describe(self.dataset, self.settings.split)
        if np.isfinite(self.dataset.energies).any() and not self.settings.only_readouts:
            text += "\n" + describe(self.levels, self.zeros, self.network.config.elements)
        return text

    def run(self, output: Path) -> None:
        """Train to the end of the schedule or of the patience, then test the best model."""
        settings = self.settings
        loss_and_gradient = self._loss_function()
        order = frame_order(self.settings, self.dataset, self.split.train, self.step)
        running: float | Tensor = 0.0
        since, began, first = 0, time.monotonic(), self.step
        bar = tqdm(total=settings.steps, initial=self.step, unit="step", disable=None, desc="training", smoothing=0.05)
        while self.step < settings.steps and self.since_best < settings.patience:
            loss = self._advance(loss_and_gradient, self.batches.make(next(order)))
            running, since = running + loss.detach(), since + 1
            bar.update()
            if self.step % settings.validation_every_steps == 0 or self.step == settings.steps:
                mean_loss = float(running) / since
                if not math.isfinite(mean_loss):
                    raise InputError(
                        f"the loss is {mean_loss} at step {self.step}: lower learning_rate (now {settings.learning_rate})"
                    )
                errors = self._validate_and_save(output, mean_loss, time.monotonic() - began)
                self._report(bar, errors, self.step - first, time.monotonic() - began)
                running, since = 0.0, 0
        bar.close()
        if len(self.split.test):
            best = load_model(output / MODEL_FILE)
            tested = self.errors(network_of(best, self.dtype).to(self.device), self.split.test)
            metadata = best.metadata | {"test_errors": {"held-out split": tested}}
            save_model(replace(best, metadata=metadata), output / MODEL_FILE)

    def _report(self, bar: tqdm, errors: dict[str, float], steps: int, seconds: float) -> None:
        """The latest validation beside the bar, or on a line of its own where there is no terminal."""
        maes = []
        for name in self._terms:
            what, unit = self.outputs[name].error or (name, "")
            if math.isfinite(mae := errors[f"{what}_mae_{unit}"]):
                maes.append(f"{what.replace('_', ' ')} MAE {1e3 * mae:.1f} {self.outputs[name].thousandth()}")
        bar.set_postfix_str(", ".join(maes))
        if bar.disable:
            left = (self.settings.steps - self.step) * seconds / steps / 60
            print(f"step {self.step} of {self.settings.steps}: {', '.join(maes)}, {left:.0f} min left", flush=True)

    def errors(self, network: Network, frames: np.ndarray) -> dict[str, float]:
        """Errors on the given frames, see validation.Deviations.

        Energies are those of frames, compared up to the fitted offset of further levels; forces are compared by component.
        """
        return self._deviations(network, frames).errors(self.outputs)

    def _deviations(self, network: Network, frames: np.ndarray) -> Deviations:
        parameters = dict(network.named_parameters())

        def predict(batch: Batch) -> dict[str, Tensor]:
            found = predicted(network, self.priors, parameters, batch, self._compared, self.charge)
            return found | {"energy": found["energy"] + self.offsets[batch.levels]}

        return Deviations(predict, self.batches, frames, self._compared)

    def _advance(self, loss_function: Callable, batch: Batch) -> Tensor:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.settings, self.step)
        loss = loss_function(self.parameters, batch)
        loss.backward()
        if self.offsets.grad is not None:
            self.offsets.grad[0] = 0.0  # the first level sets the zero of energy
        learnt = [parameter for parameter in self.parameters.values() if parameter.grad is not None]
        torch.nn.utils.clip_grad_norm_(learnt, self.settings.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return loss

    def _loss_function(self) -> Callable[[dict, Batch], Tensor]:
        terms, network, priors, charge = self._terms, self.network, self.priors, self.charge

        def loss(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
            return batch_loss(network, priors, parameters, batch, terms, charge)

        if not self.settings.compile:
            return loss
        fast, counts = compiled(loss), self.dataset.counts
        if (counts == counts[0]).all() and not self.dataset.pbc.any():
            return fast
        # Batches of changing shape would be compiled again and again.
        size, cutoff = min(self.settings.batch_size, len(self.split.train)), network.config.cutoff
        largest = Largest(*self.batches.largest(self.split.train, size))
        return lambda parameters, batch: fast(parameters, padded(batch, largest.shape_of(batch), cutoff))

    def _energy_zeros(self) -> np.ndarray:
        """Zeros of energy of each level, (n_levels, n_elements) eV: fitted, or those of a network that stays as it is."""
        if self.settings.only_readouts:
            return np.tile(self.network.energy_shift.numpy(force=True), (len(self.levels.names), 1))
        zeros = self._fit_energy_zeros()
        self.network.energy_shift.copy_(torch.as_tensor(zeros[0]))
        return zeros

    def _make_batches(self) -> Batches:
        """Batches of the dataset, energies relative to the zeros."""
        dataset, elements, levels = self.dataset, self.network.config.elements, self.levels.of_frame
        reference = (composition(dataset, np.arange(len(dataset)), elements) * self.zeros[levels]).sum(axis=1)
        batches = Batches(dataset, elements, self.network.config.cutoff, levels, reference, self.dtype, self.device)
        batches.weights = self.weights
        return batches

    def _fit_energy_zeros(self) -> np.ndarray:
        """Zeros of energy with which the present network fits each level on average, (n_levels, n_elements) eV."""
        dataset, network = self.dataset, self.network
        elements, cutoff, levels = network.config.elements, network.config.cutoff, self.levels.of_frame
        precise = network_of(model_of(network), torch.float64).to(self.device)
        batches = Batches(dataset, elements, cutoff, levels, np.zeros(len(dataset)), torch.float64, self.device)

        def predict(frames: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                parameters = dict(precise.named_parameters())
                batch = batches.make(frames)
                return predicted(precise, self.priors, parameters, batch, ("energy",))["energy"].cpu().numpy()

        return fit_zeros(dataset, self.levels, self.split.train, elements, predict, self.weights)

    def _validate_and_save(self, output: Path, mean_loss: float, seconds: float) -> dict[str, float]:
        deviations = self._deviations(self.average.module, self.split.validation)
        errors, score = deviations.errors(self.outputs), deviations.score(self._terms)
        self.since_best += 1
        improved = score < self.best
        if improved:
            self.best, self.since_best = score, 0
        if improved or self.settings.keep == "last":
            save_model(model_of(self.average.module, self._metadata(errors), self.priors), output / MODEL_FILE)
        record = {
            "step": self.step,
            "seconds": round(seconds, 1),
            "learning_rate": learning_rate(self.settings, self.step),
            "loss": mean_loss,
        }
        with open(output / LOG_FILE, "a", encoding="utf-8") as log:
            log.write(to_json(record | {f"validation_{k}": v for k, v in errors.items()}) + "\n")
        save_state(self, output / STATE_FILE)
        from mlcalc.training.plots import plot_learning_curve

        plot_learning_curve(output / LOG_FILE, output / "learning_curve.png", self.outputs)
        return errors

    def _make_terms(self) -> dict[str, Term]:
        """Terms of the loss, by output: of what has labels and a weight."""
        settings = self.settings
        terms = {name: Term(weight) for name, weight in settings.readout_weights.items()}
        if settings.only_readouts:
            return terms
        energy = Term(settings.energy_weight, settings.energy_huber_eV)
        forces = Term(1.0, settings.force_huber_eV_per_A)
        # The force on a free atom is zero whatever the network.
        of_molecules = np.repeat(self.dataset.counts > 1, self.dataset.counts)
        has_forces = np.isfinite(self.dataset.forces[of_molecules]).any()
        return {"energy": energy} | ({"forces": forces} if has_forces else {}) | terms

    def _metadata(self, validation: dict[str, float]) -> dict:
        provenance = {
            "training_files_sha256": self.dataset.files,
            "training_data": [found._asdict() for found in self.dataset.contents],
            "energy_levels": self.levels.names,
            "training_frames": len(self.split.train),
            "steps": self.step,
            "settings": asdict(self.settings),
            "torch": torch.__version__,
        }
        known: dict[str, Any] = {}
        if self._origin:
            known = self._origin.metadata
            provenance = known.get("provenance", {}) | {"readouts": provenance}
        if self.settings.scalar:
            known = known | {"scalar": self.settings.scalar._asdict()}
        return known | {"domain": self.domain, "validation_errors": validation, "provenance": provenance}


def _shown(config, priors: dict[str, Any]) -> str:
    return ", ".join(map(str, (config, *priors.values())))
