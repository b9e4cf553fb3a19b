"""The compiled loss: equal to the loss as it is, and given up where it is not."""

import numpy as np
import pytest
import torch

from tests.mlcalc.test_padding import assert_same, eager, loss_and_gradients, trainer_of

MOLECULES = ["molecule"] * 8


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [16, 64])
def test_the_compiled_loss_of_a_painn(tmp_path, capsys, n_features):
    """torch 2.13 fuses loops in a wrong order: with its own options forces are off by a sixth with 16 features, by a third with 64,
    and right with 8."""
    torch.compiler.reset()
    trainer = trainer_of(tmp_path, MOLECULES, "painn", compile=True, n_features=n_features)
    loss, batch = trainer._loss_function(), trainer.batches.make(np.arange(3))
    assert_same(loss_and_gradients(trainer, loss, batch), eager(trainer, batch))
    assert not capsys.readouterr().err  # the compiler did it


@pytest.mark.parametrize("factor", [1.05, float("nan")])
def test_a_compiler_that_errs_is_found_out(tmp_path, capsys, monkeypatch, factor):
    """At the first batch of its shape, before the gradient is used; from then on the loss is not compiled."""
    monkeypatch.setattr(torch, "compile", lambda loss, **_: lambda parameters, batch: factor * loss(parameters, batch))
    trainer = trainer_of(tmp_path, MOLECULES, "painn", compile=True, n_interactions=1)
    loss, batch = trainer._loss_function(), trainer.batches.make(np.arange(3))
    for _ in range(2):
        assert_same(loss_and_gradients(trainer, loss, batch), eager(trainer, batch))
    note = capsys.readouterr().err
    assert note.count("note: the compiled loss has another gradient") == 1 == note.count("\n")


def test_a_compiler_that_rounds_is_used(tmp_path, capsys, monkeypatch):
    seen = []

    def compile_(loss, **_):
        def call(parameters, batch):
            seen.append(batch)
            return (1.0 + 1e-5) * loss(parameters, batch)

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    trainer = trainer_of(tmp_path, MOLECULES, "painn", compile=True, n_interactions=1)
    loss, batch = trainer._loss_function(), trainer.batches.make(np.arange(3))
    for _ in range(3):
        loss(trainer.parameters, batch)
    assert len(seen) == 4  # once more for the check of the first
    assert not capsys.readouterr().err


def test_a_compiler_is_checked_where_only_readouts_learn(tmp_path, capsys, monkeypatch):
    """Weights that are kept have no gradient to compare."""
    monkeypatch.setattr(torch, "compile", lambda loss, **_: loss)
    trainer = trainer_of(tmp_path, MOLECULES, "painn", compile=True, n_interactions=1)
    loss, batch = trainer._loss_function(), trainer.batches.make(np.arange(3))
    for name, parameter in trainer.parameters.items():
        parameter.requires_grad_(name.startswith("readout"))
    loss(trainer.parameters, batch)
    assert not capsys.readouterr().err
