"""The experiments of Klein et al. 2024 as runnable definitions, resumable and parallel.

| module | what it does |
| --- | --- |
| `figures` | one definition for each figure |
| `scale` | model, data and training that a folder's results are of |
| `units` | the smallest pieces of work, and which of them a figure needs |
| `folder` | where everything is kept, with its provenance |
| `supernet`, `standard` | the two ways to get weights: one shared super-network, or fine-tuning alone |
| `search`, `alone`, `quantised`, `latency` | what is done with the weights: the kinds of units |
| `trials`, `journal`, `trial_processes` | trials of standard NAS: what is trained, in what order, and where |
| `parallel`, `run` | processes, and the order of the work |
| `spent`, `statistics`, `pictures` | from rows to what is drawn |
"""
