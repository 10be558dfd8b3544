import numpy as np
import pytest

from mmdsts.analysis.ablation.report import make_report, markdown, write_report
from mmdsts.analysis.ablation.store import Clips, Run

TITLES = dict(base='one neuron', better='many neurons', same='as many', absent='never run')
N = 400


def result(name, seed, accuracy, within=None):
    def table(share):
        return np.arange(N) < round(share * N)

    clips = Clips(table(accuracy), None if within is None else table(within), np.zeros(N, int))
    run = Run(name, seed, accuracy, within, 1000, 10.0 + seed, 0.5, 0.9, f'{name}{seed}')
    return run, clips


def results(base, better, same, within=None):
    given = dict(base=base, better=better, same=same)
    return {n: {s: result(n, s, a, within) for s, a in enumerate(values)} for n, values in given.items()}


def cells(text, title):
    (line,) = [line for line in text.splitlines() if line.startswith(f'| {title} ')]
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_table_has_means_paired_differences_and_verdicts():
    text = markdown(make_report(TITLES, results((0.70, 0.71, 0.72), (0.80, 0.81, 0.82), (0.71, 0.70, 0.73)), 'base'))
    assert cells(text, 'one neuron') == ['one neuron', '1,000', '11', '90.0', '3', '71.0', '', 'baseline']
    better = cells(text, 'many neurons')
    assert better[5] == '81.0'
    assert better[6].startswith('+10.0 (+')
    assert better[-1] == 'above'
    assert cells(text, 'as many')[-1].startswith('open')
    assert 'never run' not in text
    assert 'within sets' not in text
    assert '400 test clips' in text
    against = markdown(
        make_report(TITLES, results((0.70, 0.71, 0.72), (0.80, 0.81, 0.82), (0.71, 0.70, 0.73)), 'better')
    )
    assert cells(against, 'one neuron')[-1] == 'below'


def test_sets_have_columns_of_their_own():
    text = markdown(make_report(TITLES, results((0.70, 0.71), (0.80, 0.81), (0.70, 0.71), within=0.9), 'base'))
    assert 'within sets, %' in text
    assert cells(text, 'many neurons')[7:9] == ['90.0', '+0.0 (+0.0 to +0.0)']


def test_luck_of_the_seed_is_not_ranked():
    report = make_report(TITLES, results((0.69, 0.25, 0.41), (0.72, 0.28, 0.44), (0.69, 0.25, 0.42)), 'base')
    text = markdown(report)
    assert not report.ranking.allowed
    assert 'No ranking' in text
    assert 'seeds would do' in text
    # However narrow the paired interval is.
    assert cells(text, 'many neurons')[-1] == 'not ranked'
    assert cells(text, 'many neurons')[6].startswith('+3.0')


def test_one_seed_is_not_ranked():
    text = markdown(make_report(TITLES, results((0.7,), (0.9,), (0.7,)), 'base'))
    assert 'one seed does not say' in text
    assert 'cover clips alone' in text
    assert 'seeds and clips' not in text
    assert cells(text, 'many neurons')[-1] == 'not ranked'


def test_nothing_is_more_or_less_than_it_is():
    text = markdown(make_report(TITLES, results((0.7, 0.7), (0.7, 0.7), (0.7, 0.7)), 'base'))
    assert 'by 0.0 points (95 %), no more than the largest difference' in text
    # A spread of few seeds is wider than there are accuracies.
    text = markdown(make_report(TITLES, results((0.1, 0.9), (0.1, 0.8999), (0.1, 0.9)), 'base'))
    assert 'spread it by 1016.5 points (95 %), more than' in text
    assert '-0.0' not in text


@pytest.mark.parametrize('within', [None, 0.9])
def test_files(tmp_path, within):
    given = results((0.70, 0.71), (0.80, 0.81), (0.70, 0.71), within)
    files = write_report([make_report(TITLES, given, name) for name in ('base', 'same')], '# Title\n', tmp_path)
    assert [path.name for path in files] == ['table.md', 'differences.png', 'differences_2.png']
    text = files[0].read_text()
    assert text.startswith('# Title\n')
    assert text.count('## Against: ') == 2
    assert '![differences](differences_2.png)' in text
    assert all(path.read_bytes().startswith(b'\x89PNG') for path in files[1:])
