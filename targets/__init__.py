"""hwnas.targets"""
