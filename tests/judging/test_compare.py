"""The fair table: who is ranked, who is compared, and what is said of the others."""

import json

import numpy as np
import pytest
import torch

from models.files import write_tensors
from pipeline.errors import GraftError
from pipeline.judging import Cell, Comparing, compare, read_cell

SETTINGS = Comparing(resamples=300)
BETTER = {"kid": "lower", "structure": "higher", "intra": "higher", "memorised": "lower"}


def cell(method="cdc", seed=0, kid=0.2, structure=0.5, seed_noise=0.01, n=100, **changes):
    """A finished cell: per-z values about the given means, with z-effects that all methods share."""
    shared = np.random.default_rng(0).normal(0, 0.1, n)
    own = np.random.default_rng([seed, *method.encode()])
    run = own.normal(0, seed_noise)
    arrays = {
        name: mean + run + shared + own.normal(0, 0.02, n)
        for name, mean in (("kid", kid), ("structure", structure))
    }
    scores = [
        {
            "name": name,
            "value": float(values.mean()),
            "low": float(values.mean()) - 0.02,
            "high": float(values.mean()) + 0.02,
            "n": n,
            "better": BETTER[name],
            "network": "sobel" if name == "structure" else "graft_eye",
            "protocol": {"interval": "bootstrap over z"},
            "detail": {},
        }
        for name, values in arrays.items()
    ]
    result = {
        "id": f"{method}-lorelei-10-{seed}",
        "status": "done",
        "reason": None,
        "method": method,
        "target": "lorelei",
        "shots": 10,
        "seed": seed,
        "images": 4000,
        "seconds": 60.0,
        "scores": scores,
        "inputs_hash": "same",
    }
    return Cell(result | changes, {name: torch.from_numpy(values) for name, values in arrays.items()})


def failed(method, seed, status="diverged"):
    made = cell(
        method, seed, status=status, reason="not finite at step 7", images=900, scores=[], inputs_hash=""
    )
    return Cell(made.result, {})


def cells(method, seeds=3, **more):
    return [cell(method, seed, **more) for seed in range(seeds)]


def rows(table):
    return {row.method: row for row in table.rows}


def test_a_row_is_the_mean_over_seeds_with_students_interval_from_three_on():
    table = compare(cells("cdc"), SETTINGS)
    measure = rows(table)["cdc"].measures["kid"]
    values = [score["value"] for c in cells("cdc") for score in c.result["scores"] if score["name"] == "kid"]
    assert measure.value == pytest.approx(np.mean(values))
    assert measure.over == "seeds"
    assert measure.high - measure.value == pytest.approx(
        4.302653 * np.std(values, ddof=1) / np.sqrt(3), rel=1e-4
    )
    assert measure.by_seed == pytest.approx(dict(enumerate(values)))


def test_with_two_seeds_the_interval_is_over_z():
    measure = rows(compare(cells("cdc", 2), SETTINGS))["cdc"].measures["kid"]
    assert measure.over == "z"
    assert measure.high - measure.low == pytest.approx(0.04)


def test_columns_carry_network_direction_and_recipe():
    found = {metric.name: metric for metric in compare(cells("cdc"), SETTINGS).metrics}
    assert (found["kid"].network, found["kid"].better) == ("graft_eye", "lower")
    assert "bootstrap over z" in found["structure"].protocol


def test_failures_stay_with_reason_and_cost_and_their_row_is_not_ranked():
    table = compare([*cells("cdc"), *cells("rssa", 2), failed("rssa", 2)], SETTINGS)
    (failure,) = table.failures
    assert (failure.status, failure.reason, failure.images) == ("diverged", "not finite at step 7", 900)
    row = rows(table)["rssa"]
    assert row.mark == "1 of 3 seeds failed"
    assert row.measures["kid"].value > 0
    assert row.ranks == {}
    assert not row.front


def test_a_method_that_only_failed_has_a_row_that_says_so():
    row = rows(compare([*cells("cdc"), failed("ewc", 0, "out of memory")], SETTINGS))["ewc"]
    assert row.mark == "failed: out of memory"
    assert row.measures == {}


def test_cells_outside_the_budget_are_marked_and_not_ranked():
    table = compare([*cells("cdc"), *cells("rssa"), *cells("long", images=8000, kid=0.01)], SETTINGS)
    row = rows(table)["long"]
    assert row.mark == "outside the budget: 8,000 images, not 4,000"
    assert row.ranks == {}
    assert not row.front
    assert rows(table)["cdc"].ranks["kid"] in (1, 2)
    assert "long" not in {difference.method for difference in table.differences}


def test_the_budget_can_be_said():
    table = compare([*cells("cdc"), *cells("long", images=8000)], Comparing(budget=8000, resamples=300))
    assert rows(table)["cdc"].mark.startswith("outside the budget")
    assert rows(table)["long"].mark == ""


def test_cells_judged_on_other_inputs_are_not_in_one_ranking():
    table = compare(
        [*cells("cdc"), *cells("rssa"), *cells("other", inputs_hash="another", kid=0.01)], SETTINGS
    )
    assert rows(table)["other"].mark == "judged on other inputs"
    assert {difference.method for difference in table.differences} == {"rssa"}


def test_one_cell_with_other_inputs_is_left_out_of_its_row_and_named():
    strange = cell("cdc", 3, kid=9.0, inputs_hash="another")
    table = compare([*cells("cdc"), strange, *cells("rssa")], SETTINGS)
    row = rows(table)["cdc"]
    assert row.seeds == (0, 1, 2)
    assert row.measures["kid"].value < 1
    assert row.left_out == ("cdc-lorelei-10-3 (judged on other inputs)",)
    assert any("cdc-lorelei-10-3" in note for note in table.notes)


def test_targets_and_shots_are_ranked_apart():
    table = compare(
        [*cells("cdc"), *cells("rssa", kid=0.1), *cells("cdc", shots=1), *cells("cdc", target="x")], SETTINGS
    )
    assert [(row.target, row.shots, row.method) for row in table.rows] == [
        ("lorelei", 10, "cdc"),
        ("lorelei", 10, "rssa"),
        ("lorelei", 1, "cdc"),
        ("x", 10, "cdc"),
    ]
    assert [row.ranks["kid"] for row in table.rows] == [2, 1, 1, 1]


def test_a_planted_difference_is_found_with_its_direction():
    table = compare([*cells("cdc"), *cells("rssa", kid=0.1, structure=0.3)], SETTINGS)
    found = {difference.metric: difference for difference in table.differences}
    assert found["kid"].verdict == "better"
    assert found["structure"].verdict == "worse"
    assert found["kid"].paired.difference == pytest.approx(-0.1, abs=0.03)
    assert found["kid"].first == "cdc"


def test_without_a_difference_it_is_not_separable():
    table = compare([*cells("cdc"), *cells("rssa")], SETTINGS)
    assert {difference.verdict for difference in table.differences} == {"not separable"}


def test_p_values_are_corrected_over_all_comparisons_of_a_metric():
    alone = compare([*cells("cdc"), *cells("rssa", kid=0.18)], SETTINGS)
    many = compare([*cells("cdc"), *cells("rssa", kid=0.18), *cells("a"), *cells("b"), *cells("c")], SETTINGS)
    p_alone = next(d for d in alone.differences if d.metric == "kid").p
    p_many = next(d for d in many.differences if d.metric == "kid" and d.method == "rssa")
    assert p_many.p >= p_alone
    assert p_many.p >= p_many.paired.p


def test_the_method_to_compare_with_can_be_named():
    table = compare([*cells("cdc"), *cells("rssa"), *cells("tgan")], Comparing(first="tgan", resamples=300))
    assert {(d.method, d.first) for d in table.differences} == {("cdc", "tgan"), ("rssa", "tgan")}


def test_only_seeds_that_both_have_are_paired():
    table = compare([*cells("cdc"), cell("rssa", 2), cell("rssa", 5)], SETTINGS)
    assert {difference.paired.seeds for difference in table.differences} == {1}
    assert {difference.paired.over for difference in table.differences} == {"z"}


def test_the_front_is_over_kid_and_structure():
    made = [
        *cells("copies", kid=0.01, structure=0.2),
        *cells("good", kid=0.1, structure=0.6),
        *cells("still", kid=0.5, structure=0.9),
        *cells("bad", kid=0.4, structure=0.3),
    ]
    assert {row.method for row in compare(made, SETTINGS).rows if row.front} == {"copies", "good", "still"}


def test_two_cells_for_one_place_are_refused():
    with pytest.raises(GraftError, match="the same method, target, shots and seed"):
        compare([cell("cdc", 0), cell("cdc", 0, id="cdc-again")], SETTINGS)


def test_a_variant_of_a_method_is_a_row_of_its_own():
    table = compare([*cells("cdc"), *cells("cdc", variant="cdc, weights.distance 100")], SETTINGS)
    assert set(rows(table)) == {"cdc", "cdc, weights.distance 100"}


def test_a_metric_that_was_not_measured_is_left_empty():
    made = cells("cdc")
    lacking = cell("rssa", 0)
    scores = [dict(score) for score in lacking.result["scores"]]
    scores[0] |= {"value": None, "low": None, "high": None, "detail": {"reason": "no held-out pictures"}}
    table = compare([*made, Cell({**lacking.result, "scores": scores}, lacking.arrays)], SETTINGS)
    assert set(rows(table)["rssa"].measures) == {"structure"}
    assert {d.metric for d in table.differences} == {"structure"}
    assert not rows(table)["rssa"].front


def test_no_cells_make_an_empty_table():
    table = compare([], SETTINGS)
    assert (table.rows, table.differences, table.failures) == ((), (), ())


def test_a_table_is_plain_data_and_the_report_reads_it():
    from pipeline.report.content import Comparison

    table = compare([*cells("cdc"), *cells("rssa", 2, kid=0.1), failed("ewc", 0)], SETTINGS)
    assert json.loads(json.dumps(table.as_dict()))["rows"][0]["method"] == "cdc"
    read = Comparison.from_dict(json.loads(json.dumps(table.for_report("a sweep"))))
    assert [row.method for row in read.rows] == ["cdc", "rssa", "ewc"]
    assert read.rows[0].values["kid"].n == 100
    assert read.verdicts[0].words
    assert len(read.failures) == 1


def test_a_cells_folder_is_read_with_or_without_per_z_values(tmp_path):
    made = cell("cdc", 0)
    (tmp_path / "result.json").write_text(json.dumps(made.result), encoding="utf-8")
    assert read_cell(tmp_path).arrays == {}
    write_tensors(tmp_path / "judged.safetensors", made.arrays)
    read = read_cell(tmp_path)
    assert read.result == made.result
    assert torch.equal(read.arrays["kid"], made.arrays["kid"])
