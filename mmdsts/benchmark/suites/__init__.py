"""Suites by name: each is a function of settings (and sizes) that returns a ``SuiteResult``."""
from . import data, deploy, end2end, layer, scaling, udl

SUITES = dict(layer=layer.run, scaling=scaling.run, deploy=deploy.run, udl=udl.run, end2end=end2end.run,
              data=data.run)

__all__ = ['SUITES']
