"""Samples of every layer and function, and the engine that holds fdl to torch on them."""
