"""Fine-tuning of super-networks: strategies on the Hugging Face `Trainer`, checkpoints, and resuming.

A new strategy is one file with a `STRATEGY` object, and one line in `strategy._MODULES`.
"""
