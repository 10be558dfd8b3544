"""Suites by name: each is a function of settings (and sizes) that returns a ``SuiteResult``."""

from . import data, end2end, layer_testing, layer_training, scaling, udl, windows

SUITES = dict(
    layer=layer_training.run,
    scaling=scaling.run,
    deploy=layer_testing.run,
    udl=udl.run,
    end2end=end2end.run,
    data=data.run,
    windows=windows.run,
)

__all__ = ['SUITES']
