"""File names of a run folder."""

INPUT, STRUCTURE, MODEL, ENGINE = "input.toml", "structure.xyz", "model.safetensors", "engine.txt"
GLE, TRAJECTORY, PROPERTIES, VELOCITIES = "gle.txt", "trajectory.h5", "properties.csv", "velocities.h5"
STATUS, LOG, LOCK, BREACH = "status.json", "run.log", ".lock", "breach.xyz"
HILLS, BATH = "hills.csv", "quantum_bath.csv"
