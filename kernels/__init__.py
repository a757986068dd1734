"""Triton kernels with their torch references. transformers passes over this folder by its version."""
__version__ = "0.0.0"
