"""Findings of a study in words, with the figures that a reader can quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from chg.results import FAMILIES, TUNED, UNDECIDED, Competence, GroupEffect, StudyResults

if TYPE_CHECKING:
    import pandas as pd

NAMED = 8
"""Heads, and pairs of heads, that a sentence names at most."""
_VERBS = {
    "facilitation": ("facilitates", "facilitate"),
    "irrelevance": ("is irrelevant", "are irrelevant"),
    "interference": ("interferes", "interfere"),
}


@dataclass(frozen=True)
class Ground:
    """Something that all findings of a study rest on."""

    text: str
    warns: bool
    """True where it takes the grounds away."""


@dataclass(frozen=True)
class Findings:
    """Sentences that say what a study found, by what they are about."""

    grounds: tuple[Ground, ...]
    """Competence of the model, how far gates tune it, and rest of the fits."""
    roles: tuple[str, ...]
    """Number of heads of each role, and effect of closing them together."""
    disagreements: tuple[str, ...]
    """Heads where ablation disagrees with a role."""
    proofs: tuple[str, ...]
    """Pairs that are redundant, and the causal check."""
    known: tuple[str, ...]
    """Heads known by their attention patterns, and how well gates find them."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them, the grounds first."""
        grounds = tuple(ground.text for ground in self.grounds)
        return (*grounds, *self.roles, *self.disagreements, *self.proofs, *self.known)


def findings(study: StudyResults) -> Findings:
    """Say what a study found, a sentence or two each."""
    roles = [*(_role(study, score) for score in FAMILIES), _undecided(study)]
    checks = (f"{curve.score.capitalize()}: {curve.verdict}." for curve in study.checks)
    return Findings(
        grounds=(*_competence(study), *_convergence(study)),
        roles=tuple(sentence for sentence in roles if sentence),
        disagreements=_disagreements(study),
        proofs=(*_redundant(study), *checks, *_faithfulness(study)),
        known=tuple(group.sentence for group in study.known_heads),
    )


def _competence(study: StudyResults) -> list[Ground]:
    competence = study.competence
    if competence is None:
        return []
    return [
        Ground(competence.sentence, not competence.has_grounds),
        *_tuning(study, competence),
    ]


def _convergence(study: StudyResults) -> list[Ground]:
    convergence = study.convergence
    if not convergence.fits:
        return []
    return [Ground(convergence.sentence, convergence.moving > 0)]


def _tuning(study: StudyResults, competence: Competence) -> list[Ground]:
    """Say how much better or worse the model is under gates than without them."""
    figures = study.manifest.get("figures") or {}
    if not {"initial", "retention"} <= figures.keys():
        return []
    ungated = float(figures["ungated"]["nll"])
    means = {"G0": figures["initial"]["nll"]["mean"], "G+": figures["retention"]["nll"]["mean"]}
    changes = " and ".join(
        f"{abs(nll - ungated):.3f} nats {'better' if nll < ungated else 'worse'} under {stage}"
        for stage, nll in means.items()
    )
    share = competence.tuning(means["G+"])
    text = f"Gates change the model: on held-out rows it is {changes} than ungated"
    if share is None or share <= TUNED:
        return [Ground(f"{text}.", False)]
    text += (
        f", {share:.0%} of the gap to the prompts of other rows. So gates tune the model as well "
        "as reveal it: roles describe the tuned model."
    )
    return [Ground(text, True)]


def _role(study: StudyResults, score: str) -> str:
    """Say how many heads have a role, and what closing them together does."""
    full, *parts = FAMILIES[score]
    heads = study.heads
    chosen = heads[heads["role"].isin([full, *parts])]
    one, several = _VERBS[score]
    if chosen.empty:
        return "" if score == "irrelevance" else f"No head {one}."
    in_part = int(chosen["role"].isin(parts).sum())
    noted = f" ({in_part} of them in part)" if in_part else ""
    named = "" if score == "irrelevance" else f": {_names(study, chosen, score)}"
    verb = one if len(chosen) == 1 else several
    text = f"{len(chosen)} of {len(heads)} heads {verb}{noted}{named}"
    group = next((group for group in study.groups if group.role == full), None)
    return f"{text}." if group is None else f"{text}; {_closing(group)}."


def _closing(group: GroupEffect) -> str:
    what = "closing it" if group.heads == 1 else "closing them together"
    effect = "costs" if group.score < 0 else "gains"
    size = f"{abs(group.score):.3f} nats per token"
    if group.low is not None and group.high is not None:
        ends = sorted((-group.low, -group.high) if group.score < 0 else (group.low, group.high))
        size += f" (95 % interval {ends[0]:.3f} to {ends[1]:.3f})"
    return f"{what} {effect} {size} and leaves {group.accuracy:.0%} of the target tokens right"


def _undecided(study: StudyResults) -> str:
    count = int((study.heads["role"] == UNDECIDED).sum())
    if not count:
        return ""
    why = "the seeds disagree, or gates still moved"
    if len(study.seeds) == 1:
        why = "gates follow the pattern of no role, or still moved"
    if study.competence is not None and not study.competence.shows_task:
        why += ", or gates speak of a task of which the model shows no sign"
    return f"{count} {'head is' if count == 1 else 'heads are'} undecided: {why}."


def _disagreements(study: StudyResults) -> tuple[str, ...]:
    """Say at which heads ablation disagrees with the role."""
    if "ablation_score" not in study.heads:
        return ()
    at = study.heads["disagrees"]
    listed = study.heads[at.str.contains("G = 1", regex=False)]
    overall = study.matrix("role", missing="")
    text = f"Ablation with all others open disagrees with the role of {_count(listed)}"
    if not listed.empty:
        text += f": {_listed(study, listed, 'ablation_score', overall)} (redundancy may explain it)"
    if "retention_score" not in study.heads:
        return (f"{text}.",)
    contradicted = study.heads[at.str.contains("G+", regex=False)]
    told = f"Ablation from G+ of seed {study.seeds[0]} contradicts "
    if contradicted.empty:
        told += "no role that this seed gives"
    else:
        named = _listed(study, contradicted, "retention_score", study.roles[0])
        told += f"the role that this seed gives {_count(contradicted)}: {named}"
    return f"{text}.", f"{told}."


def _count(heads: pd.DataFrame) -> str:
    return {0: "no head", 1: "1 head"}.get(len(heads), f"{len(heads)} heads")


def _listed(study: StudyResults, heads: pd.DataFrame, column: str, roles: NDArray[Any]) -> str:
    """Name heads with a role and a score each, the largest scores first."""
    ranked = heads.loc[heads[column].abs().sort_values(ascending=False).index]
    named = [
        f"{study.name(row['layer'], row['head'])} {roles[row['layer'], row['head']]} "
        f"{row[column]:+.3f}"
        for row in ranked.head(NAMED).to_dict("records")
    ]
    return ", ".join(named) + more(len(heads))


def _names(study: StudyResults, heads: pd.DataFrame, score: str) -> str:
    ranked = heads.sort_values(f"{score}_mean", ascending=False).head(NAMED)
    named = [study.name(row["layer"], row["head"]) for row in ranked.to_dict("records")]
    return ", ".join(named) + more(len(heads))


def more(count: int) -> str:
    """Say how many there are beside those that a sentence names; empty where it names all."""
    return f" and {count - NAMED} more" if count > NAMED else ""


def _faithfulness(study: StudyResults) -> list[str]:
    found = study.faithfulness
    if found is None:
        return []
    return [found.sentence]


def _redundant(study: StudyResults) -> list[str]:
    sentences = []
    for pair in study.redundant[:NAMED]:
        one, other = (study.name(*head) for head in pair.heads)
        sentences.append(
            f"{one} or {other} suffices: closing both costs {-pair.together:.3f} nats per token, "
            f"either alone {-pair.alone[0]:.3f} and {-pair.alone[1]:.3f}."
        )
    if len(study.redundant) > NAMED:
        sentences.append(f"{len(study.redundant) - NAMED} more pairs are redundant.")
    return sentences
