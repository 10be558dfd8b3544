"""The page of what came of attaching to a zoo, made in several calls."""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path

import mmaction
import pytest
from mmengine.config import Config

from mmdsts.analysis.attachment_page import Row, page

from ..attachment.small_configs import WIDE
from .test_footage_tools import ROOT, run

ZOO = ROOT / 'tools' / 'attach_zoo.py'
GRAPH = Config(dict(model=dict(type='RecognizerGCN', backbone=dict(type='AAGCN'), cls_head=dict(type='GCNHead'))))


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """One config that works, two that are refused for one reason, and a base, which is none."""
    for name, cfg in (('rec/slow/a', WIDE), ('skeleton/gcn/b', GRAPH), ('skeleton/gcn/c', GRAPH)):
        (tmp_path / 'zoo' / name).parent.mkdir(parents=True, exist_ok=True)
        cfg.dump(tmp_path / 'zoo' / f'{name}.py')
    (tmp_path / 'zoo' / '_base_').mkdir()
    GRAPH.dump(tmp_path / 'zoo' / '_base_' / 'd.py')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, 'disable', lambda level: None)  # it would outlive the test
    return tmp_path / 'zoo'


def test_a_call_goes_on_where_an_earlier_one_ended(monkeypatch, capfd, zoo):
    args = ('--zoo', zoo, '--out', 'page.md')
    assert run(monkeypatch, ZOO, *args, '--only', 'gcn') == 0
    tried = [line.split(' | ')[0] for line in capfd.readouterr().out.splitlines()]
    assert tried == ['skeleton/gcn/b', 'skeleton/gcn/c']
    assert run(monkeypatch, ZOO, *args) == 0
    assert capfd.readouterr().out.splitlines() == [
        'rec/slow/a | ResNet3dSlowOnly hands I3DHead maps (B, 128, 4, 2, 2). | same scores; trains: 2 iterations; tests'
    ]
    text = (zoo.parent / 'page.md').read_text()
    assert '**3 configs: 1 work, 2 are refused with the reason, 0 otherwise.**' in text
    assert '| rec/slow | 1 | 1 | 0 | 0 |\n| skeleton/gcn | 2 | 0 | 2 | 0 |\n\n## rec/slow\n' in text
    assert text.count("model.type is 'RecognizerGCN': it runs no neck") == 1 and text.endswith('\n- b\n- c\n')
    assert len(list(csv.reader((zoo.parent / 'page.csv').open()))) == 4

    (zoo.parent / 'page.md').unlink()
    assert run(monkeypatch, ZOO, *args) == 0
    assert capfd.readouterr().out == '' and (zoo.parent / 'page.md').read_text() == text


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--only', 'none'], "no config with 'none' in its path"),
        (['--out', 'page.txt'], '--out page.txt: expected a name that ends in .md'),
        (['--out', 'zoo/a.md'], 'zoo/a.csv, line 2: expected config,found,result, as an earlier call wrote'),
    ],
)
def test_wrong_arguments_are_one_line(monkeypatch, capfd, zoo, args, message):
    (zoo / 'a.csv').write_text('config,found,result\nb,c\n')
    assert run(monkeypatch, ZOO, '--zoo', zoo, *args) == 2
    assert message in capfd.readouterr().err.splitlines()[-1]


#: Its rate of 0.4 is for 256 clips. On two, the loss of plain training grows from 6 to 480 in four iterations, too.
DIVERGES = {'slowonly_r50_8xb32-u48-240e_k400-keypoint'}


def test_the_page_of_the_documentation_has_every_config():
    text, zoo = (ROOT / 'docs' / 'attach_zoo.md').read_text(), Path(mmaction.__file__).parent / '.mim' / 'configs'
    if f'MMAction2 {mmaction.__version__},' not in text:
        pytest.skip('the page is of another version of MMAction2')
    found = set()
    for family, part in re.findall(r'^## (.+)\n((?:(?!## ).*\n)*)', text, flags=re.M):
        names = re.findall(r'^(?:- |\| )(\S+)', part, flags=re.M)
        found |= {name if family == 'Not tried yet' else f'{family}/{name}' for name in names}
    assert set(re.findall(r'^\| (\S+) \|.*FAILS', text, flags=re.M)) == DIVERGES
    expected = {
        path.relative_to(zoo).with_suffix('').as_posix() for path in zoo.rglob('*.py') if '_base_' not in path.parts
    }
    assert expected <= found


def test_a_failure_is_in_the_counts_and_in_the_table():
    text = page([Row('r/t/b', '', 'FAILS: KeyError: x'), Row('r/t/a', '', 'no: because')], 'head')
    assert '**2 configs: 0 work, 1 are refused with the reason, 1 otherwise.**' in text
    assert '| r/t | 2 | 0 | 1 | 1 |' in text and '| b |  | FAILS: KeyError: x |' in text
