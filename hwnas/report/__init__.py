"""hwnas.report"""
