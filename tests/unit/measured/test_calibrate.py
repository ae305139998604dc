"""`guide calibrate`: rows over the shipped fits, fits from scratch, and the file in use."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from guide.catalog import load
from guide.cli.app import app
from guide.domain import Catalog, FitTable
from guide.errors import CatalogError, SpecError
from guide.measured.case import Unanswerable, build
from guide.measured.dataset import Dataset, compiled
from guide.measured.doubts import notes_of
from guide.measured.measurements import Measurement, parse
from guide.measured.predict import predict_case
from guide.measured.refine import refine
from guide.measured.store import write
from guide.perf.fits import NAMES, PARAMETERS, latent_centre
from guide.perf.trust import at_a_bound

MEASURED = Path(__file__).parents[2] / "accuracy" / "data" / "measurements.csv"
COLUMNS = (
    "id", "source", "licence", "framework", "framework_version", "model", "gpu", "tp", "kind",
    "batch_or_concurrency", "isl", "osl", "ttft_ms", "tpot_ms",
)  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def row(users: int, slower: float = 1.0, version: str = "0.10.0") -> Measurement:
    """A closed loop that is `slower` than the shipped fits say."""
    cells = dict.fromkeys(COLUMNS, "") | {
        "id": f"u{users}", "framework": "vllm", "framework_version": version,
        "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "H100-SXM", "tp": "1",
        "kind": "concurrency", "batch_or_concurrency": str(users), "isl": "512", "osl": "128",
    }  # fmt: skip
    asked = parse(cells, "here")
    case = build(asked, CATALOG)
    assert not isinstance(case, Unanswerable)
    values = predict_case(case, CATALOG).values
    return replace(asked, ttft_s=values["ttft"] * slower, tpot_s=values["tpot"] * slower)


CATALOG: Catalog = load()


def dataset(*rows: Measurement) -> Dataset:
    return compiled([(item, None) for item in rows], CATALOG)


def say(_: str) -> None:
    pass


def moved(before: FitTable, after: FitTable) -> float:
    """Largest movement of any deviation."""
    keys = after.rows.keys() & before.rows.keys()
    return max(
        abs(after.rows[key].get(name, 0) - before.rows[key].get(name, 0))
        for key in keys
        for name in NAMES
    )


def test_rows_that_agree_with_the_fit_leave_it_alone():
    refined = refine(CATALOG.fits, dataset(row(4), row(16)), "mine", say)
    assert np.abs(refined.errors["before"]).max() < 0.02
    assert moved(CATALOG.fits, refined.table) < 0.03


def test_rows_that_disagree_pull_the_fit_the_more_the_more_they_are():
    one = refine(CATALOG.fits, dataset(row(16, 1.3)), "mine", say)
    many = refine(
        CATALOG.fits, dataset(*(row(users, 1.3) for users in (1, 2, 4, 8, 16, 32))), "mine", say
    )
    assert np.abs(many.errors["fitted"]).mean() < 0.5 * np.abs(many.errors["before"]).mean()
    assert moved(CATALOG.fits, one.table) < moved(CATALOG.fits, many.table)
    assert "row" in many.errors
    assert "row" not in one.errors


def test_levels_of_other_hardware_stay():
    refined = refine(CATALOG.fits, dataset(row(1, 1.5), row(8, 1.5)), "mine", say)
    for key, values in CATALOG.fits.rows.items():
        if key[0] in ("gpu-engine", "vendor", "gpu") and "H100-SXM" not in key[1]:
            assert key[1] == "nvidia" or refined.table.rows[key] == values
    for key in (("kernels", "*"), ("gpu", "H100-SXM")):
        assert refined.table.points[key] == CATALOG.fits.points[key] + 2
    assert refined.table.points["all", "*"] == CATALOG.fits.points["all", "*"]  # of roofs
    assert refined.table.evidence.endswith("; mine")


def test_a_version_nobody_measured_begins_at_the_nearest():
    refined = refine(CATALOG.fits, dataset(row(4, version="0.99.0")), "mine", say)
    key = ("version", "vLLM-0.98")
    assert key not in CATALOG.fits.rows
    measured = [k for k in CATALOG.fits.rows if k[0] == "version" and k[1].startswith("vLLM-0.")]
    nearest = max(measured, key=lambda k: int(k[1].removeprefix("vLLM-0.")))
    for name, value in CATALOG.fits.rows[nearest].items():
        assert refined.table.rows[key][name] == pytest.approx(value, abs=0.05)


def test_intervals_never_shrink():
    rows = [row(users, 1 + users % 3) for users in range(1, 22)]
    refined = refine(CATALOG.fits, dataset(*rows), "mine", say)
    for key, width in CATALOG.fits.residuals.items():
        assert refined.table.residuals[key] >= width
    group = ("concurrency/nvidia/row", "tpot")
    assert refined.table.residuals[group] > CATALOG.fits.residuals[group]


def test_a_constant_at_its_bound_and_too_few_points_are_noted():
    few = dataset(row(4, version="0.6.6"))  # by roofs
    latent = np.array([[latent_centre(q) for q in PARAMETERS]])
    key = ("gpu-engine", "H100-SXM/vLLM-V0")
    assert notes_of(few, latent, {key: 5}) == {}
    latent[0, NAMES.index("share_w")] = 8.0
    latent[0, NAMES.index("ca")] -= 6.0
    note = notes_of(few, latent, {key: 2})[key]
    assert "share_w is at a bound (1)" in note
    assert "ca is at a bound" in note
    assert "too few points (2 of 5)" in note


def test_bounds_are_those_of_the_link():
    values = {q.name: q.centre for q in PARAMETERS}
    assert at_a_bound(values) == []
    assert at_a_bound(values | {"share_kv": 0.995, "c0": 0.0}) == ["share_kv", "c0"]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Forty rows of the open measurements, one of them without a licence."""
    with MEASURED.open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["kind"] == "static_batch"][:40]
    rows[0]["licence"] = "none stated"
    path = tmp_path / "few.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_fit_from_scratch_takes_open_rows_only_and_says_so(few: Path, tmp_path: Path):
    out = tmp_path / "fits.yaml"
    result = run("calibrate", "--from-scratch", few, "--out", out)
    assert result.exit_code == 0, result.output
    assert "Not fitted: 1 rows without an open licence." in result.output
    assert "models left out" in result.output
    table = load(calibration=out).fits
    assert table.points["all", "*"] == 39
    assert table.evidence == "39 open-licence rows of few.csv"


def test_the_same_rows_give_the_same_file(few: Path, tmp_path: Path):
    texts: list[str] = []
    for name in ("a.yaml", "b.yaml"):
        assert run("calibrate", few, "--out", tmp_path / name).exit_code == 0
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]


def test_every_command_takes_the_file_by_flag_or_environment(few: Path, tmp_path: Path):
    out = tmp_path / "fits.yaml"
    slow = replace(CATALOG.fits, rows={("all", "*"): {"c0": 5.0}})  # every step waits for the host
    write(replace(slow, points={("all", "*"): 1}), out)

    def predicted(*more: object, env: dict[str, str] | None = None) -> str:
        target = tmp_path / "predicted.csv"
        arguments = ["predict", "--csv", few, "--out", target, *more]
        result = CliRunner().invoke(app, [str(a) for a in arguments], env=env)
        assert result.exit_code == 0, result.output
        return target.read_text()

    shipped = predicted()
    assert predicted("--calibration", out) != shipped
    assert predicted("--calibration", out) == predicted(env={"GUIDE_CALIBRATION": str(out)})


def test_nothing_to_fit_is_said_in_one_sentence(tmp_path: Path):
    path = tmp_path / "x.csv"
    header = "framework,model,gpu,tp,kind,batch_or_concurrency,isl,osl,tpot_ms"
    path.write_text(f"{header}\nvllm,no/such,H100-SXM,1,concurrency,4,8,8,3\n")
    result = run("calibrate", path, "--out", tmp_path / "out.yaml")
    assert isinstance(result.exception, SpecError)
    assert "model 'no/such' is in no catalogue" in str(result.exception)
    assert not (tmp_path / "out.yaml").exists()


def test_a_file_of_fits_that_is_none_is_refused(few: Path, tmp_path: Path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("rows: [{level: all, key: '*', points: -1, values: {}}]")
    with pytest.raises(CatalogError, match=r"bad\.yaml, row 1 \(all\): points"):
        load(calibration=bad)


def test_out_must_be_writable(few: Path, tmp_path: Path):
    result = run("calibrate", few, "--out", tmp_path / "none" / "x.yaml")
    assert isinstance(result.exception, SpecError)
