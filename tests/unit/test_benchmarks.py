"""The benchmarks run, and what they say of samples is right."""

from __future__ import annotations

import json
import random
from xml.etree import ElementTree

import pytest

pytest.importorskip("psutil", reason="pip install -r requirements-benchmarks.txt")

from benchmarks import figures, plots, tables
from benchmarks.__main__ import BENCHMARKS, main, run
from benchmarks.figures import Figure, Results, not_measured
from benchmarks.samples import Estimate, estimate, pair_ratio, percentile, ratio
from benchmarks.scene import Effort
from benchmarks.start import imported

#: Of what each benchmark has to tell, in its tiny form too.
WANTED = {
    "save": {"save of 20 kB, p50", "save of 20 kB, p50, each fsync 5 ms slower"},
    "requests": {"requests for a save, while one server writes its path"},
    "start": {"start of the server with bookstore, against without, in one environment"},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return dict(run(list(BENCHMARKS), Effort(quick=True), tmp_path_factory.mktemp("benchmarks")))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_and_its_json_says_what_it_found(results, tmp_path, name):
    file = tmp_path / "results.json"
    figures.write(file, {name: results[name]})
    document = json.loads(file.read_text(encoding="utf-8"))["benchmarks"][name]
    assert document["environment"]["cpus"]
    assert document["environment"]["versions"]["bookstore"]
    assert document["figures"]
    for figure in document["figures"]:
        assert figure["row"] == name
        assert figure["value"] is not None or figure["note"], figure
        assert (figure["held"] is None) is (figure["bar"] is None)
    assert WANTED.get(name, set()) <= {figure["what"] for figure in document["figures"]}
    assert figures.read(file) == {name: results[name]}


def test_each_row_of_the_design_has_its_figure(results):
    with_bar = " / ".join(figure.what for one in results.values() for figure in one.figures if figure.bar is not None)
    for row in ("save of", "stall", "fsync", "requests", "draining", "GET /api", "start", "memory", "first page"):
        assert row in with_bar, row


def test_a_save_costs_one_request(results):
    assert results["requests"].figures[0].value == 1.0


def test_tables_and_plots_come_out_of_the_figures(results, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install -r requirements-benchmarks.txt")
    assert tables.summary(results).count("\n") > len(BENCHMARKS)
    for one in results.values():
        lines = tables.table(one).splitlines()
        assert {line.count("|") for line in lines if line.startswith("|")} == {6}
    drawn = plots.draw(results, tmp_path)
    assert [file.name for file in drawn] == ["cost-of-a-save-by-waiting.svg", "cost-of-a-save-by-versions.svg"]
    for file in drawn:
        assert "with bookstore" in "".join(ElementTree.parse(file).getroot().itertext())  # noqa: S314 - our own file


def test_figures_that_were_kept_are_told_again(results, tmp_path, capsys):
    file = tmp_path / "results.json"
    figures.write(file, results)
    main(["--from", str(file)])
    assert "requests for a save" in capsys.readouterr().out


def test_a_name_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["sav"])
    assert "there is no benchmark 'sav'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "bar", "is_floor", "held"),
    [
        (1.15, 1.15, False, True),
        (1.154, 1.15, False, True),
        (1.156, 1.15, False, False),
        (0.85, 0.85, True, True),
        (0.84, 0.85, True, False),
        (7.0, None, False, None),
        (None, 1.0, False, False),
    ],
)
def test_a_bar_is_held_to_the_digits_that_are_told(value, bar, is_floor, held):
    assert Figure("row", "what", value, bar=bar, is_floor=is_floor).is_held is held


def test_what_could_not_be_measured_says_why():
    figure = not_measured("row", "what", "no network", bar=1.0)
    assert tables.value(figure) == "not measured: no network"
    assert Figure.from_dict(figure.to_dict()) == figure


def test_a_percentile_is_a_sample():
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 101), 50) == 50
    assert percentile([3.0], 99) == 3.0


def test_an_interval_holds_the_truth_and_shrinks_with_the_samples():
    chance = random.Random(1)  # noqa: S311 - no secret

    def spread(count):
        plain = [chance.gauss(1.0, 0.1) for _ in range(count)]
        found = ratio([1.2 * chance.gauss(1.0, 0.1) for _ in range(count)], plain)
        assert found.low < 1.2 < found.high
        return found.high - found.low

    assert spread(400) < spread(25)


def test_pairs_take_a_drift_out_of_an_interval():
    drift = [1.0 + number / 10 for number in range(40)]
    ours = [1.1 * one for one in drift]

    def mean_ratio(series):
        return sum(series[0]) / sum(series[1])

    paired, unpaired = estimate(mean_ratio, ours, drift, paired=True), estimate(mean_ratio, ours, drift)
    assert paired.low == pytest.approx(1.1)
    assert paired.high == pytest.approx(1.1)
    assert unpaired.high - unpaired.low > 0.2
    assert pair_ratio(ours, drift) == pytest.approx(1.1)


def test_the_same_samples_give_the_same_interval():
    assert ratio([1.0, 2.0, 4.0], [1.0, 1.0, 2.0]) == ratio([1.0, 2.0, 4.0], [1.0, 1.0, 2.0])
    assert isinstance(ratio([2.0], [1.0]), Estimate)


def test_imports_are_read_out_of_a_log_among_other_lines():
    log = "import time: self [us] | cumulative | imported package\n[I] hello\n"
    log += "import time:       226 |        226 |   _io\nimport time:        10 |        300 | bookstore.errors\n"
    assert imported(log) == {"_io": 226, "bookstore.errors": 10}


def test_results_without_a_file_are_none(tmp_path):
    assert figures.read(tmp_path / "none.json") == {}
    assert Results((), {}, 1.0) == Results.from_dict(Results((), {}, 1.0).to_dict())
