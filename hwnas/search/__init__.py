"""Search for the Pareto front of quality against cost: ask/tell searchers, objectives, cached evaluations, fronts."""
