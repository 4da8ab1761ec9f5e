"""hwnas.tasks"""
