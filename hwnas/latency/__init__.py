"""hwnas.latency"""
