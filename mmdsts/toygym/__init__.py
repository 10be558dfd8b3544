"""ToyGym: a small procedural gymnastics set, rendered on the spot and stored like FineGym."""

from .elements import ELEMENTS, SETS, Element, space_only_groups, time_only_groups
from .generate import ToyGymSpec, generate, make_clip, read_nuisances
from .nuisance import Nuisance, sample_nuisance
from .render import render_clip
from .sheet import contact_sheet

__all__ = [
    'ELEMENTS',
    'SETS',
    'Element',
    'Nuisance',
    'ToyGymSpec',
    'contact_sheet',
    'generate',
    'make_clip',
    'read_nuisances',
    'render_clip',
    'sample_nuisance',
    'space_only_groups',
    'time_only_groups',
]
