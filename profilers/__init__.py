"""hwnas.profilers"""
