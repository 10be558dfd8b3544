"""The page and its files, from a record with known figures."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch

from mmdsts.analysis.specialization import Record, write_report
from mmdsts.analysis.specialization.figures import shorten
from mmdsts.analysis.specialization.page import render_page
from mmdsts.analysis.specialization.report import make_folder, parts_of, write_strips
from mmdsts.analysis.specialization.strips import film_strip, most_active
from mmdsts.analysis.specialization.study import Subject, study
from mmdsts.analysis.specialization.words import layer_facts, overlap_words, verdict
from mmdsts.cli import UsageError
from mmdsts.models import DSTSNeck

NAMES = ['<i>tucked</i> & forward', 'backward', 'left', 'right']
SETS = [1, 1, 2, 2]


def record(neurons=3):
    """160 clips: layer 0 knows the set, layer 1 nothing; replacing costs a quarter in layer 0, nothing in layer 1."""
    labels = np.tile([0, 1, 2, 3], 40)
    predictions = labels.copy()
    predictions[:16:4] = 1
    active = np.stack([np.array(SETS)[labels] - 1, np.repeat(np.arange(4) % 2, 40)])
    leads = np.where(np.arange(neurons) == active[..., None], 1.0, -1.0) * np.linspace(1, 2, 160)[None, :, None]
    worse = predictions.copy()
    worse[-40:] = (worse[-40:] + 1) % 4
    replaced = np.stack([worse, predictions, worse])
    return Record(labels, predictions, active[..., None], leads, dict(runner_up=replaced, random=replaced))


SUBJECT = Subject(NAMES, SETS, {1: 'salto', 2: 'turn'}, dict(speed=np.repeat([0, 1], 80)))


@pytest.fixture
def neck():
    torch.manual_seed(0)
    return DSTSNeck(4, num_layers=2, num_neurons=3)


class Frames:
    """Clips of which every pixel says which clip and frame it is of."""

    def __getitem__(self, index):
        frames = torch.arange(8)[None, None, :, None, None].expand(1, 3, 8, 16, 32) * 10 + index
        return dict(inputs=frames.to(torch.uint8))


def test_figures_of_a_known_record(neck):
    found = study(record(), neck, SUBJECT)
    assert found.accuracy == pytest.approx(156 / 160)
    first, second = found.layers
    assert first.use.tolist() == [0.5, 0.5, 0]
    assert first.in_use == pytest.approx(2)
    told = {row.about: row for row in first.information}
    assert list(told) == ['set', 'class within its set', 'class', 'speed']
    assert told['set'].bits == told['set'].entropy == pytest.approx(1)
    assert told['class within its set'].bits == pytest.approx(0, abs=1e-12)
    assert told['class'].bits / told['class'].entropy == pytest.approx(0.5)
    assert [row.above_chance for row in first.information] == [True, False, True, False]
    assert [row.nuisance for row in first.information] == [False, False, False, True]
    assert first.replaced['random'].lost.mean == pytest.approx(0.25)
    assert first.replaced['random'].changed == pytest.approx(0.25)
    assert second.replaced['random'].lost.mean == second.replaced['random'].changed == 0
    assert second.replaced['random'].lost.low < 0 < second.replaced['random'].lost.high
    assert found.replaced['random'].lost.mean == pytest.approx(0.25)
    assert second.replaced_of['random'][0].lost.mean == 0
    assert first.replaced_of['random'][2] is None  # no clip activates it
    assert found.shares[0].tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_words(neck):
    found = study(record(), neck, SUBJECT)
    assert verdict(found.layers[0]) == 'The choice follows the set, and the neurons are special: others do worse.'
    assert verdict(found.layers[1]) == 'The choice of neuron says nothing about the classes beyond chance.'
    facts = [' '.join(fact[:2]) for fact in layer_facts(found.layers[0])]
    assert facts[:2] == ['2.0 of 3 neurons in use', '100.0 % of the set is told by the choice']
    assert facts[-1] == '25.0 points lost with a random other neuron instead'
    assert overlap_words(found).startswith('A class and its most confused sibling share, on average, 100 % in layer 0')
    collapsed = record()._replace(active=np.zeros((2, 160, 1), dtype=int))
    assert verdict(study(collapsed, neck, SUBJECT).layers[0]) == 'Collapsed: one neuron takes nearly all clips.'


def test_clips_of_one_class_say_nothing_of_classes(neck, tmp_path):
    one = record()
    one = one._replace(labels=np.zeros_like(one.labels), predictions=np.ones_like(one.predictions))
    found = study(one, neck, SUBJECT)
    assert verdict(found.layers[0]) == 'The clips are of one class: they do not show what the choice follows.'
    assert not any('told by the choice' in fact for _, fact, _ in layer_facts(found.layers[0]))
    assert overlap_words(found) == 'No class is confused with a sibling that has clips.'
    page = write_report(one, neck, SUBJECT, tmp_path, title='One')
    assert page.read_text().count('no clips</td>') == 2


def test_classes_without_sets(neck):
    found = study(record(), neck, Subject(NAMES))
    assert [row.about for row in found.layers[0].information] == ['class']


class _Page(HTMLParser):
    """Collects what a page loads, and its text."""

    def __init__(self):
        super().__init__()
        self.loads, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for key, value in attrs if key in ('src', 'href') and not value.startswith('#')]
        if tag not in ('meta', 'img', 'br'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_needs_no_other_file(neck, tmp_path):
    done = []
    page = write_report(
        record(),
        neck,
        SUBJECT,
        tmp_path / 'new',
        title='A <title>',
        notes=['from a test'],
        dataset=Frames(),
        clips=2,
        on_progress=done.append,
    )
    assert page == tmp_path / 'new' / 'index.html'
    assert len(done) == parts_of(2)
    content = page.read_text()
    parsed = _Page()
    parsed.feed(content)
    assert parsed.open == []
    assert all(load.startswith('data:image/') for load in parsed.loads)
    text = ' '.join(' '.join(parsed.text).split())
    assert '<i>tucked</i> & forward' in text  # as it is written, not as markup
    assert '160 clips, 97.5 % of them right' in text
    assert 'No clip activates neuron 2.' in text
    assert 'url(' not in content
    assert '@import' not in content

    pictures = {path.name for path in (tmp_path / 'new').glob('*.png')}
    per_layer = {f'{name}_l{j}.png' for name in ('classes', 'information', 'readings', 'replaced') for j in (0, 1)}
    assert pictures == per_layer | {'replaced.png'} | {f'clips_l{j}_n{i}.png' for j in (0, 1) for i in (0, 1)}
    assert len(parsed.loads) == 9 + 2 * 2 * 2  # figures, and two strips of two neurons in two layers
    numbers = json.loads((tmp_path / 'new' / 'numbers.json').read_text())
    assert numbers['layers'][0]['replaced']['random']['lost']['mean'] == 0.25
    assert numbers['pairs'][0]['label'] == NAMES[0]


def test_film_strips_are_of_the_clips_with_the_largest_lead(tmp_path):
    clips = most_active(record(), 0, 1, 2)
    assert [(clip.position, clip.label) for clip in clips] == [(159, 3), (158, 2)]
    assert clips[0].lead == pytest.approx(2)
    assert most_active(record(), 0, 2) == []
    strip = film_strip(Frames(), 5)
    assert strip.shape == (72, 6 * 144, 3)
    assert strip[36, 72::144, 0].tolist() == [10 * frame + 5 for frame in (0, 1, 3, 4, 6, 7)]

    class Skeletons:
        def __getitem__(self, index):
            return dict(inputs=torch.zeros(1, 17, 4, 8, 8))

    assert film_strip(Skeletons(), 0) is None
    write_strips(record(), tmp_path, Frames(), list(range(20, 180)), 1)
    picture = cv2.imread(str(tmp_path / 'clips_l0_n1.png'))
    assert picture[36, 10].tolist() == [179] * 3  # the last clip of the record


def test_many_classes_are_folded(neck):
    labels = np.arange(160) % 40
    many = record()._replace(labels=labels, predictions=(labels + 1) % 40)
    subject = Subject([f'class {i}' for i in range(40)])
    page = render_page('t', [], study(many, neck, subject), subject, defaultdict(bytes), [[], []])
    assert '20 more classes, less confused' in page
    assert len(re.findall('<td data-label="class">', page)) == 40


def test_names_keep_both_ends():
    assert shorten('turn to the left, free leg bent', 40) == 'turn to the left, free leg bent'
    assert shorten('double turn to the left, free leg straight', 21) == 'double turn…straight'
    assert len(shorten('x' * 99, 20)) == 20


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UsageError, match='^/.*file/in: no folder can be made there: Not a directory'):
        make_folder(tmp_path / 'file' / 'in')
    assert make_folder(tmp_path / 'a' / 'b').is_dir()
