"""hwnas.kernels"""
