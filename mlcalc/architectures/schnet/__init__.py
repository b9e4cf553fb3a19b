"""SchNet: continuous-filter convolutions on distances."""
