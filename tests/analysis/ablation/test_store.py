import csv

import numpy as np
import pytest

from mmdsts.analysis.ablation.store import Clips, Run, RunStore, judge, slug

RUN = Run('dsts+udl', 3, 0.75, 0.875, 54720, 12.5, 0.5, None, 'a' * 64)
CLIPS = Clips(np.array([True, False, True, True]), np.array([True, True, True, False]), np.array([2, 0, 1, 1]))


def same(first, second):
    return all((a is None and b is None) or np.array_equal(a, b) for a, b in zip(first, second))


def test_a_run_is_found_again_by_a_new_process(tmp_path):
    RunStore(tmp_path).add(RUN, CLIPS)
    store = RunStore(tmp_path)
    assert store.find('a' * 64) == RUN
    assert store.find('b' * 64) is None
    assert same(store.clips(RUN), CLIPS)
    without_sets = RUN._replace(within_set=None, key='c' * 64)
    store.add(without_sets, CLIPS._replace(within=None))
    assert RunStore(tmp_path).find('c' * 64) == without_sets
    assert same(RunStore(tmp_path).clips(without_sets), CLIPS._replace(within=None))


def test_each_run_is_one_line_and_other_settings_stay(tmp_path):
    store = RunStore(tmp_path)
    for key in 'ab':
        store.add(RUN._replace(key=key * 64), CLIPS)
    rows = list(csv.DictReader((tmp_path / 'runs.csv').open()))
    assert [row['key'][0] for row in rows] == ['a', 'b']
    assert rows[0]['variant'] == 'dsts+udl'
    assert float(rows[0]['accuracy']) == 0.75
    assert rows[0]['agreement'] == ''


@pytest.mark.parametrize('cut', [1, 20, 60, 70])
def test_a_line_that_was_cut_short_is_made_anew(tmp_path, cut):
    RunStore(tmp_path).add(RUN, CLIPS)
    whole = (tmp_path / 'runs.csv').read_text()
    RunStore(tmp_path).add(RUN._replace(key='b' * 64), CLIPS)
    text = (tmp_path / 'runs.csv').read_text()
    (tmp_path / 'runs.csv').write_text(text[:-cut])
    store = RunStore(tmp_path)
    assert store.find('a' * 64) == RUN
    if cut > 1:
        assert store.find('b' * 64) is None
    store.add(RUN._replace(key='c' * 64), CLIPS)
    assert (tmp_path / 'runs.csv').read_text().startswith(whole)
    assert RunStore(tmp_path).find('c' * 64).key == 'c' * 64


def test_a_line_without_its_clips_does_not_count(tmp_path):
    store = RunStore(tmp_path)
    store.add(RUN, CLIPS)
    next((tmp_path / 'clips').iterdir()).unlink()
    assert RunStore(tmp_path).find(RUN.key) is None


def test_names_of_files():
    assert slug('L=1,pulse=sum+udl') == 'L=1_pulse=sum+udl'
    assert '/' not in slug('pulse=../x')


def test_scores_are_judged_among_all_classes_and_among_siblings():
    scores = np.array([[0.9, 0.1, 0.5, 0.4], [0.9, 0.1, 0.3, 0.4], [0.2, 0.9, 0.3, 0.9]])
    clips = judge(scores, np.array([2, 2, 1]), np.array([3, 3, 7, 7]))
    assert clips.correct.tolist() == [False, False, True]
    assert clips.within.tolist() == [True, False, True]
    assert clips.predictions.tolist() == [0, 0, 1]
    assert clips.accuracies() == pytest.approx((1 / 3, 2 / 3))
    assert judge(scores, np.array([2, 2, 1]), None).within is None
