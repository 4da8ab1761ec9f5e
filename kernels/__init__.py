"""Operations, one a file, each with an eager PyTorch version, and faster ones where the device has them.

Imported by file: `from hwnas.kernels.sliced_linear import sliced_linear`.
"""
