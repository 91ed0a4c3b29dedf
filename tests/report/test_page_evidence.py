"""What the page says of its own grounds: competence, findings in words, ablation beside roles."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from playwright.sync_api import Page

from chg.report import Study
from chg.report.check_panels import check_panels
from chg.report.evidence import evidence
from chg.report.findings import findings
from chg.report.page import render_page, save_page
from chg.report.page_charts import chart_sections
from chg.report.page_facts import FORMULAS, reading_rows
from chg.report.palette import slug
from chg.results import FAMILIES, ROLES, Convergence, FitMotion
from support.example_study import TOLERANCE, example_study
from support.page import Open, table_names

UNABLE = {"nll": 11.4, "accuracy": 0.0, "exchanged_nll": 11.7, "gain": 0.3, "p_value": 0.37}


def with_manifest(study: Study, **changed: Any) -> Study:
    """A study of which the manifest says something else."""
    return dataclasses.replace(study, manifest={**study.manifest, **changed})


def unable(study: Study) -> Study:
    """A study of a model that does not do its task."""
    return with_manifest(study, competence={**study.manifest["competence"], **UNABLE})


@pytest.fixture
def doubtful(opened: Open, studies: dict[str, Study], tmp_path: Path) -> Page:
    return opened(str(save_page(unable(studies["4x8"]), tmp_path / "unable.html")))


def test_competence_comes_first(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    first = page.locator("main p").first
    assert study.competence is not None
    assert first.inner_text() == study.competence.sentence
    assert first.is_visible()
    figures = page.locator("#figures")
    assert figures.is_visible()
    lines = [line.split("\t") for line in figures.locator("tbody tr").all_inner_texts()]
    assert [line[:2] for line in lines[:2]] == [
        ["ungated", "0.412"],
        ["ungated, prompts of other rows", "5.310"],
    ]
    assert [line[0].split()[-1] for line in lines[2:]] == ["(G0)", "(G+)", "(G\u2212)"]
    top = page.locator("#grounds").bounding_box()
    summary = page.locator(".summary").bounding_box()
    assert top is not None
    assert summary is not None
    assert top["y"] < 250
    assert summary["y"] > top["y"] + 100


def test_a_model_that_does_not_do_its_task_is_a_warning(opened: Open, doubtful: Page) -> None:
    ground = "e => getComputedStyle(e).borderLeftColor"
    calm, alarmed = (page.locator("#grounds").evaluate(ground) for page in (opened(), doubtful))
    assert calm != alarmed
    first = doubtful.locator("main p").first
    assert "does not do this task" in first.inner_text()
    assert first.get_attribute("class") == "warns"
    assert doubtful.locator(".badge.yes").count() == 0


def test_fits_that_move_are_a_warning(opened: Open, studies: dict[str, Study]) -> None:
    page = opened()
    assert "1 of 9 fits is still moving" in page.locator("#grounds .warns").inner_text()
    assert "still moving" in page.locator("#curves-section .warns").inner_text()
    rows = page.locator("#convergence tbody tr").all_inner_texts()
    assert [row.split("\t")[1] for row in rows] == ["0 of 3", "0 of 3", "1 of 3 (seed 0)"]
    at_rest = tuple(
        FitMotion(stage, seed, 0.0, 0.0) for stage in ("initial", "removal") for seed in range(3)
    )
    rested = with_manifest(studies["4x8"], convergence=Convergence(at_rest, 300).to_json())
    assert not any(ground.warns for ground in findings(rested).grounds)
    section = next(one for one in chart_sections(rested) if one.name == "curves")
    assert "warns" not in section.body


def test_gates_that_tune_the_model_are_a_warning(studies: dict[str, Study]) -> None:
    study = studies["4x8"]
    figures = study.manifest["figures"]
    tuned = {**figures, "retention": {**figures["retention"], "nll": {"mean": -0.5}}}
    (told,) = (
        ground
        for ground in findings(with_manifest(study, figures=tuned)).grounds
        if "Gates change" in ground.text
    )
    assert told.warns
    assert "roles describe the tuned model" in told.text
    assert not findings(study).grounds[1].warns


def test_findings_are_said_in_words(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    found = findings(study)
    for name in ("roles", "disagreements", "proofs"):
        told = page.locator(f"#findings .{name} li").all_inner_texts()
        assert tuple(told) == getattr(found, name) != ()
    assert (*(one.text for one in found.grounds),) == study.findings[: len(found.grounds)]


def test_known_heads_are_said_in_words(opened: Open, studies: dict[str, Study]) -> None:
    study = studies["patterns"]
    told = opened("patterns").locator("#findings .known li").all_inner_texts()
    assert tuple(told) == findings(study).known == study.findings[-len(told) :]
    (group,) = (one for one in study.known_heads if one.pattern == "induction")
    assert group.sentence in told
    assert opened().locator("#findings .known").count() == 0
    assert findings(studies["4x8"]).known == ()


def test_a_notebook_says_them_too() -> None:
    study = example_study(3, 4, 1)
    shown = study._repr_html_()
    assert study.competence is not None
    assert shown.index(study.competence.sentence) < shown.index(study.manifest["summary"])
    for sentence in findings(study).roles:
        assert sentence in shown
    assert "nan" not in shown.lower()
    assert 'font-weight:600">The model does not do' in unable(study)._repr_html_().replace(
        "&#x27;", "'"
    )


def test_cards_count_where_ablation_agrees(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    heads = study.heads
    sure = heads["ablation_q"] < 0.05
    agrees = {
        "facilitating": sure & (heads["ablation_score"] < 0),
        "interfering": sure & (heads["ablation_score"] > 0),
        "irrelevant": heads["ablation_score"].abs() <= min(TOLERANCE, 0.1),
    }
    for role, where in agrees.items():
        of_role = heads["role"] == role
        told = page.locator(f".count.{role}").inner_text()
        assert f"{(where & of_role).sum()} of {of_role.sum()}: closing it alone" in told
        assert ROLES[role] not in told
    apart = page.locator(f".count.{slug('facilitating in part')}").inner_text()
    assert "ablation disagrees: 1\u00a0at\u00a0G\u00a0=\u00a01, 1\u00a0at\u00a0G+" in apart
    bare = heads.drop(columns=["ablation_score", "ablation_q"])
    assert not any(evidence(dataclasses.replace(study, heads=bare)).values())


@pytest.mark.parametrize(("width", "columns"), [(1400, 6), (900, 3), (390, 2)])
def test_six_cards_fit(opened: Open, width: int, columns: int) -> None:
    page = opened(width=width)
    boxes = [card.bounding_box() for card in page.locator(".count").all()]
    places = [(round(box["x"]), round(box["y"])) for box in boxes if box is not None]
    assert len({x for x, _ in places}) == columns
    # In full and in part, side by side.
    assert places[0][1] == places[1][1]
    assert places[3][1] == places[4][1]
    over = "e => e.scrollWidth - e.clientWidth"
    assert max(page.locator(".count").evaluate_all(f"all => all.map({over})")) <= 0


def test_the_table_says_how_sure_it_is(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    page.fill("#find", "L0H2")
    row = study.heads[(study.heads["layer"] == 0) & (study.heads["head"] == 2)].iloc[0]
    told = page.locator("#heads tbody tr").inner_text()
    for text in (
        f"{row['seeds_in_role']} of 3",
        f"{row['role_low']:.2f} to {row['role_high']:.2f}",
        f"{row['retention_score']:+.4f}",
        f"\u00b1 {row['retention_stderr']:.4f}",
        "< 0.0001",
        "\u2260",
    ):
        assert text in told, text
    page.click("#heads tbody button")
    shown = page.locator("#inspector").inner_text()
    assert f"3 of 3 seeds, 95 % {row['role_low']:.2f} to 1.00" in shown
    assert "ablation at G = 1 and G+" in shown
    assert f"{row['retention_score']:+.4f}" in shown


def test_undecided_does_not_read_as_agreement(opened: Open, tmp_path: Path) -> None:
    study = example_study(2, 4, 2)
    roles = study.roles.copy()
    roles[:, 0, 1] = "facilitating", "irrelevant"
    at = (study.heads["layer"] == 0) & (study.heads["head"] == 1)
    heads = study.heads.copy()
    heads.loc[at, ["role", "seeds_in_role", "role_low"]] = "undecided", 0, np.nan
    split = dataclasses.replace(study, heads=heads, roles=roles)
    page = opened(str(save_page(split, tmp_path / "undecided.html")))
    page.fill("#find", "L0H1")
    assert page.locator("#heads tbody td").nth(5).inner_text().strip() == "\u2013"
    page.click("[data-head=L0H1]")
    told = page.locator("#inspector").inner_text()
    assert "no role; by seed: 1 facilitating, 1 irrelevant" in told


def test_heads_where_ablation_disagrees_can_be_shown_alone(
    opened: Open, studies: dict[str, Study]
) -> None:
    page, heads = opened(), studies["4x8"].heads
    page.check("#disagreeing", force=True)
    wanted = heads[heads["disagrees"] != ""]
    assert 0 < len(wanted) < len(heads)
    assert set(table_names(page)) == {f"L{row.layer}H{row.head}" for row in wanted.itertuples()}
    assert page.locator(".cell:not(.faded)").count() == len(wanted)
    page.uncheck("#disagreeing", force=True)
    assert page.locator(".cell.faded").count() == 0


def test_one_seed_has_no_interval(opened: Open, tmp_path: Path) -> None:
    page = opened(str(save_page(example_study(2, 4, 1), tmp_path / "one.html")))
    page.click("[data-head=L1H3]")
    assert "to \u2013" not in page.locator("#inspector").inner_text()
    assert "1 of 1 seed, 95 %" in page.locator("#inspector").inner_text()
    assert page.locator(".meter s").count() == 0


def drawn(study: Study, score: str) -> Axes:
    """The chart of the causal check in order of a score."""
    axes = Figure().add_subplot()
    (panel,) = [one for one in check_panels(study) if score in one.title]
    panel.draw(axes)
    return axes


def test_the_judged_point_is_drawn_with_its_interval_and_the_tolerance(
    studies: dict[str, Study],
) -> None:
    study = studies["4x8"]
    for check in study.checks:
        axes = drawn(study, check.score)
        (diamond,) = [line for line in axes.lines if line.get_marker() == "D"]
        assert (diamond.get_xdata()[0], diamond.get_ydata()[0]) == (check.judged_at, check.value)
        ends = sorted(line.get_ydata()[0] for line in axes.lines if line.get_marker() == "_")
        assert ends == [check.low, check.high]
        bands = [patch.get_extents() for patch in axes.patches]
        assert len(bands) == (check.expected == "zero")
    (band,) = drawn(study, "irrelevance").patches
    assert (band.get_y(), band.get_y() + band.get_height()) == (-TOLERANCE, TOLERANCE)  # type: ignore[attr-defined]


def test_few_points_are_marked_and_what_is_not_judged_is_not_drawn(
    studies: dict[str, Study],
) -> None:
    first = studies["4x8"].checks[0]
    few = dataclasses.replace(
        first,
        counts=np.array([1, 5, 32]),
        difference=np.array([[-0.5, -7.0, -8.0]]),
        heads=first.heads[:1],
        in_role=0.0,
        holds=None,
    )
    proofs = dataclasses.replace(studies["4x8"].proofs, curves=(few,))
    axes = drawn(dataclasses.replace(studies["4x8"], proofs=proofs), "facilitation")
    assert "o" in {line.get_marker() for line in axes.lines}
    assert "D" not in {line.get_marker() for line in axes.lines}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"holds": None}, "too few rows to say"),
        ({"holds": None, "tolerance": None}, "nothing sets a tolerance"),
        ({"holds": None, "in_role": 0.0}, "no such head"),
    ],
)
def test_a_picture_says_why_a_check_is_open(
    studies: dict[str, Study], change: dict[str, Any], words: str
) -> None:
    study = studies["4x8"]
    curves = tuple(dataclasses.replace(one, **change) for one in study.checks)
    proofs = dataclasses.replace(study.proofs, curves=curves)
    figure = dataclasses.replace(study, proofs=proofs).plot_checks()
    assert words in figure.axes[1].get_title()


def test_the_reading_help_covers_every_role(opened: Open, studies: dict[str, Study]) -> None:
    assert list(FORMULAS) == list(FAMILIES)
    rows = reading_rows().split("</tr>")
    for role, row in zip(ROLES, rows, strict=False):
        assert role in row
        assert (role == "undecided") == (row.count("\u2013</td>") == 2)
    page = opened()
    page.locator(".reading summary").click()
    told = page.locator(".reading").inner_text()
    for words in ("in part, which is a finding", "evidence of their own", "above 0.7", "Jeffreys"):
        assert words in told
    strict = {"open_above": 0.8, "closed_below": 0.25}
    text = render_page(with_manifest(studies["4x8"], configuration=strict))
    assert "above\n      0.8 and closed below 0.25." in text
