"""hwnas.spaces"""
