"""hwnas.slicing"""
