"""The element classes of ToyGym.

Within a set, classes share apparatus, background, camera and figure. They differ in *space* (the body shape), in
*time* (amount or direction of rotation, order of shapes) or in both. Every motion is periodic with a uniformly
random start phase, so that classes which differ only in time have the same distribution of single frames.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

SETS: dict[int, str] = {1: 'toy_vault', 2: 'toy_floor', 3: 'toy_beam', 4: 'toy_uneven_bars'}


@dataclass(frozen=True)
class Element:
    """One class.

    Args:
        name (str): Description, as in the categories file.
        set_id (int): Key of :data:`SETS`.
        shapes (tuple[str]): Names from :data:`mmdsts.toygym.figure.SHAPES`. One shape is held; several are
            gone through in a cycle, once per window.
        salto (float): Turns per window about the lateral axis; positive is forwards. Defaults to 0.
        twist (float): Turns per window about the long axis; positive is to the left. Defaults to 0.
    """

    name: str
    set_id: int
    shapes: tuple[str, ...]
    salto: float = 0.0
    twist: float = 0.0


ELEMENTS: tuple[Element, ...] = (
    # vault: three shapes x two directions
    Element('(TV) tucked salto forward', 1, ('tuck', ), salto=1),
    Element('(TV) tucked salto backward', 1, ('tuck', ), salto=-1),
    Element('(TV) piked salto forward', 1, ('pike', ), salto=1),
    Element('(TV) piked salto backward', 1, ('pike', ), salto=-1),
    Element('(TV) stretched salto forward', 1, ('layout', ), salto=1),
    Element('(TV) stretched salto backward', 1, ('layout', ), salto=-1),
    # floor: amount of salto and of twist
    Element('(TF) salto backward tucked', 2, ('tuck', ), salto=-1),
    Element('(TF) double salto backward tucked', 2, ('tuck', ), salto=-2),
    Element('(TF) salto backward stretched', 2, ('layout', ), salto=-1),
    Element('(TF) double salto backward stretched', 2, ('layout', ), salto=-2),
    Element('(TF) salto backward stretched with 1 twist', 2, ('layout', ), salto=-1, twist=1),
    Element('(TF) salto backward stretched with 2 twists', 2, ('layout', ), salto=-1, twist=2),
    # beam: two shapes x direction or amount of a turn on one leg
    Element('(TB) turn to the left, free leg bent', 3, ('passe', ), twist=1),
    Element('(TB) turn to the right, free leg bent', 3, ('passe', ), twist=-1),
    Element('(TB) double turn to the left, free leg bent', 3, ('passe', ), twist=2),
    Element('(TB) turn to the left, free leg straight', 3, ('scale', ), twist=1),
    Element('(TB) turn to the right, free leg straight', 3, ('scale', ), twist=-1),
    Element('(TB) double turn to the left, free leg straight', 3, ('scale', ), twist=2),
    # uneven bars: two shapes x two directions, and the order of three shapes
    Element('(TU) giant circle forward stretched', 4, ('hang_straight', ), salto=1),
    Element('(TU) giant circle backward stretched', 4, ('hang_straight', ), salto=-1),
    Element('(TU) giant circle forward piked', 4, ('hang_pike', ), salto=1),
    Element('(TU) giant circle backward piked', 4, ('hang_pike', ), salto=-1),
    Element('(TU) giant circle backward, stretched - piked - arched', 4,
            ('hang_straight', 'hang_pike', 'hang_arch'), salto=-1),
    Element('(TU) giant circle backward, stretched - arched - piked', 4,
            ('hang_straight', 'hang_arch', 'hang_pike'), salto=-1),
)  # yapf: disable


def time_only_groups() -> list[list[int]]:
    """Groups (of two or more labels) that hold the same frames and differ only in how these follow each other."""
    # abs() > 0, not the amount: a figure that twists is seen from all sides, one that does not is not
    return _groups(lambda e: (e.set_id, frozenset(e.shapes), e.salto != 0, e.twist != 0))


def space_only_groups() -> list[list[int]]:
    """Groups (of two or more labels) that move in the same way and differ only in the body shape."""
    return _groups(lambda e: (e.set_id, e.salto, e.twist) + ((e.shapes,) if len(e.shapes) > 1 else ()))


def _groups(key) -> list[list[int]]:
    groups = defaultdict(list)
    for label, element in enumerate(ELEMENTS):
        groups[key(element)].append(label)
    return [labels for labels in groups.values() if len(labels) > 1]
