"""hwnas.training"""
