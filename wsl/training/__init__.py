"""The parts of `wsl-train`: losses, optimizer, batch sources, the epoch, validation, the run folder."""
