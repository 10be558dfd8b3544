"""Files of a study: a page, its pictures and its numbers."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from mmdsts.errors import UsageError
from mmdsts.models import DSTSNeck

from .collect import Record
from .figures import draw_classes, draw_information, draw_readings, draw_replaced, draw_replaced_by_neuron
from .page import Strip, render_page
from .strips import encode, film_strip, most_active, stack
from .study import Study, Subject, study

_DPI = 180


def write_report(
    record: Record,
    neck: DSTSNeck,
    subject: Subject,
    out: str | Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    dataset: Any = None,
    indices: Sequence[int] | None = None,
    clips: int = 3,
    on_progress: Callable[[str], None] | None = None,
) -> Path:
    """Compute a study and write it.

    Args:
        record: Of :func:`collect`.
        neck: The neck that it was recorded with.
        subject: What is known of the clips.
        out: Folder for ``index.html``, PNG files and ``numbers.json``; made if need be.
        title: Heading of the page.
        notes: Lines about where it comes from.
        dataset: What film strips are drawn from. Defaults to None, no strips.
        indices: Clips of ``dataset`` that the record is of. Defaults to None: all of them.
        clips: Film strips of each neuron, at most. Defaults to 3.
        on_progress: Called with the name of each part that is done. Defaults to None.

    Returns:
        The page.

    Raises:
        UsageError: See :func:`make_folder`.
    """
    done = on_progress or (lambda name: None)
    out = make_folder(out)
    found = study(record, neck, subject)
    done('numbers')
    (out / 'numbers.json').write_text(json.dumps(plain(found, subject), indent=1) + '\n', encoding='utf-8')
    figures = {}
    for name, figure in _figures(found, subject):
        figures[name] = _png(figure)
        (out / f'{name}.png').write_bytes(figures[name])
        done(name)
    strips = write_strips(record, out, dataset, indices, clips)
    done('film strips')
    page = out / 'index.html'
    page.write_text(render_page(title, list(notes), found, subject, figures, strips), encoding='utf-8')
    return page


def make_folder(out: str | Path) -> Path:
    """Make the folder of a report if need be.

    Raises:
        UsageError: It cannot be made, or nothing can be written in it.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'{out}: no folder can be made there: {error.strerror}; give another one') from error
    if not os.access(out, os.W_OK):
        raise UsageError(f'{out}: nothing can be written there; give another folder')
    return out


def parts_of(num_layers: int) -> int:
    """How often :func:`write_report` reports progress."""
    return 3 + 4 * num_layers


def plain(found: Study, subject: Subject) -> dict:
    """The study as JSON has it, classes by name."""
    content = _plain(found)
    for pair in content['pairs']:
        for key in ('label', 'sibling'):
            pair[key] = None if pair[key] is None else subject.class_names[pair[key]]
    return content


def _plain(value: Any) -> Any:
    if hasattr(value, '_asdict'):
        return {key: _plain(part) for key, part in value._asdict().items()}
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float):
        # JSON has no NaN.
        return round(value, 6) if np.isfinite(value) else None
    return value


def _figures(found: Study, subject: Subject) -> Iterator[tuple[str, Figure]]:
    yield 'replaced', draw_replaced(found)
    for j, layer in enumerate(found.layers):
        yield f'classes_l{j}', draw_classes(found, j, subject)
        yield f'information_l{j}', draw_information(layer)
        yield f'replaced_l{j}', draw_replaced_by_neuron(layer)
        yield f'readings_l{j}', draw_readings(layer)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, dpi=_DPI, format='png')
    return content.getvalue()


def write_strips(
    record: Record, out: Path, dataset: Any, indices: Sequence[int] | None, clips: int
) -> list[list[list[Strip]]]:
    """Write the film strips of each neuron; arguments as for :func:`write_report`.

    Returns:
        By layer and neuron.
    """
    layers = []
    for layer in range(len(record.active)):
        layers.append([])
        for neuron in range(record.num_neurons):
            chosen = most_active(record, layer, neuron, clips) if dataset is not None else []
            drawn = [
                (clip, film_strip(dataset, clip.position if indices is None else int(indices[clip.position])))
                for clip in chosen
            ]
            drawn = [(clip, strip) for clip, strip in drawn if strip is not None]
            if drawn:
                picture = stack([strip for _, strip in drawn])
                (out / f'clips_l{layer}_n{neuron}.png').write_bytes(encode(picture, '.png'))
            layers[-1].append(
                [Strip(encode(strip, '.jpg'), clip.label, clip.prediction, clip.lead) for clip, strip in drawn]
            )
    return layers
