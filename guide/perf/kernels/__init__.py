"""Operators priced by measured kernels: one smooth form per family, its constants by GPU, data type
and kernel (`guide/catalog/kernels`), and the layers of a model as calls of these operators."""
