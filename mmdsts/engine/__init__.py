"""Upstream-Downstream Learning (METHOD 2): its gradient, and its place in MMEngine's training."""

from .hypergradient import MetaGradient, SimulatedStep, meta_gradient, simulated_step, upstream_gradient

__all__ = ['MetaGradient', 'SimulatedStep', 'meta_gradient', 'simulated_step', 'upstream_gradient']
