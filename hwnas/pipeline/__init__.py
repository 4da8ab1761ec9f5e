"""hwnas.pipeline"""
