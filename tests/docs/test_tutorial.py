"""docs/tutorial.md runs from its first block to its last, and the notebook is that page."""

from __future__ import annotations

import json
import re

import pytest

from .pages import ROOT, blocks

PAGE = ROOT / 'docs' / 'tutorial.md'


@pytest.mark.slow
@pytest.mark.new_neurons
def test_from_config_to_report(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MPLBACKEND', 'agg')
    seen = {}
    exec(compile('\n'.join(blocks(PAGE, 'python')), str(PAGE), 'exec'), seen)
    seen['plt'].close('all')
    metrics, record, steps = seen['metrics'], seen['record'], seen['steps']
    assert seen['cfg'].model.neck.type == 'DSTSNeck' and 'neck' not in seen['plain'].model
    # Two epochs of UDL on 96 clips.
    assert len(steps) == 8
    assert all(line['upstream_grad_norm'] > 0 and 0 <= line['agreement/l1'] <= 1 for line in steps)
    assert (tmp_path / 'tutorial' / 'run' / 'epoch_2.pth').is_file()
    # The pass for the report is a test, too.
    assert 0 < metrics['acc/set'] <= 1
    assert (record.predictions == record.labels).mean() == pytest.approx(metrics['acc/top1'])
    assert 'What the neurons learned' in seen['page'].read_text(encoding='utf-8')
    assert seen['confusion'].sum() == len(seen['clips']) == 48
    assert len(seen['model'].neck.last_active) == 2
    # Nothing is written elsewhere.
    assert [path.name for path in tmp_path.iterdir()] == ['tutorial']


def test_notebook_is_the_page():
    """``jupytext --to ipynb docs/tutorial.md`` makes it anew."""
    parts = re.split(r'^```python\n(.*?)^```\n', PAGE.read_text(encoding='utf-8'), flags=re.M | re.S)
    expected = [(('markdown', 'code')[i % 2], part.strip()) for i, part in enumerate(parts) if part.strip()]
    cells = json.loads(PAGE.with_suffix('.ipynb').read_text(encoding='utf-8'))['cells']
    assert [(cell['cell_type'], ''.join(cell['source']).strip()) for cell in cells] == expected
