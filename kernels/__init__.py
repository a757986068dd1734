"""Triton kernels and their torch references. By its version transformers passes it over."""
__version__ = "0.0.0"
