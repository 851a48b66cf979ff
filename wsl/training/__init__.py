"""What `wsl-train` is made of: losses, optimizer, sources of batches, the epoch, validation, the run folder."""
