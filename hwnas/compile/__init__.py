"""hwnas.compile"""
