"""hwnas.models"""
