"""Fits `guide/catalog/kernels` to public measurements of kernels: see `hack.kernels.__main__`."""
