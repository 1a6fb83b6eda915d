"""Sampling and batched cached generation from first principles. Import the modules: this one imports nothing heavy."""
