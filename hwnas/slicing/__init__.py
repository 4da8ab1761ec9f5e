"""Three ways to run an `Architecture`: `supernet.view`, `extract.extract`, and the reference `mask.masked`.

They agree to 1e-5 in float32; the first shares the super-network's weights and is differentiable, the second is a
stand-alone, physically smaller module, the third computes everything and zeroes what is left out.
"""
