"""SchNet and PaiNN for metatomic: TorchScript that engines evaluate without mlcalc. Nothing of ours rests on it."""
