"""Every command line the specification prints, verbatim, in a folder with a local model and data.

They run in subprocesses, in the order of the specification, from a folder laid out like the
repository root; `gpt2` and `wikitext` are local, so that the real loading code runs without a
network.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from chg import HeadGates
from chg.errors import ChgError
from support.local_hub import SENTENCES
from support.repository import ROOT

STEPS = {
    "initialise": r"""
python src/train/fit_gates.py \
  --model gpt2 \
  --dataset wikitext \
  --dataset_config wikitext-2-raw-v1 \
  --out gates_init.pt \
  --epochs 3 \
  --lr 0.01 \
  --lambda_reg 0.0 \
  --batch_size 4
""",
    "retain": r"""
python src/train/fit_gates.py \
  --model gpt2 \
  --dataset wikitext \
  --dataset_config wikitext-2-raw-v1 \
  --init gates_init.pt \
  --out gates_retention.pt \
  --epochs 3 \
  --lr 0.01 \
  --lambda_reg -0.1 \
  --batch_size 4
""",
    "remove": r"""
python src/train/fit_gates.py \
  --model gpt2 \
  --dataset wikitext \
  --dataset_config wikitext-2-raw-v1 \
  --init gates_init.pt \
  --out gates_removal.pt \
  --epochs 3 \
  --lr 0.01 \
  --lambda_reg 0.1 \
  --batch_size 4
""",
    "individual": r"""
python src/train/eval_ablation.py \
  --model gpt2 \
  --gates gates_init.pt \
  --mode individual \
  --output ablation_results.json
""",
    "sequential": r"""
python src/train/eval_ablation.py \
  --model gpt2 \
  --gates gates_init.pt \
  --mode sequential \
  --ablation_order forward \
  --output sequential_ablation.json
""",
    "analyze": r"""
python src/analysis/analyze.py \
  --results ablation_results.json \
  --gates gates_init.pt \
  --output_dir analysis_output \
  --top_k 50
""",
    "contrast": r"""
python src/train/contrastive_chg.py \
  --model gpt2 \
  --retain_dataset wikitext \
  --forget_dataset biased_dataset \
  --out gates_contrastive.pt \
  --alpha 1.0 \
  --epochs 5
""",
    "prompts": r"""
python src/train/eval_ablation.py \
  --model gpt2 \
  --gates gates_init.pt \
  --prompts_file prompts.txt \
  --mode individual \
  --output custom_results.json
""",
    "seeds": r"""
for seed in 42 123 456; do
    python src/train/fit_gates.py \
        --model gpt2 \
        --out gates_init_seed${seed}.pt \
        --seed $seed
done
""",
    "out of memory": r"""
python src/train/fit_gates.py \
--batch_size 1 \
--grad_accum_steps 4
""",
    "unstable": r"""
python src/train/fit_gates.py \
--lr 0.005
""",
    "subset": r"""
python src/train/fit_gates.py \
--seed 42 \
--dataset_split "train[:100]"
""",
    "smoke": "python src/train/fit_gates.py --model gpt2 --epochs 1",
}


@pytest.fixture(scope="module")
def root(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository root as a user sees it, with a local model and data."""
    folder = tmp_path_factory.mktemp("root")
    (folder / "src").symlink_to(ROOT / "src")
    for name in ("gpt2", "wikitext"):
        (folder / name).symlink_to(hub / name)
    (folder / "prompts.txt").write_text("\n".join(SENTENCES) + "\n")
    (folder / "biased_dataset").mkdir()
    pd.DataFrame({"text": SENTENCES[::-1] * 2}).to_json(
        folder / "biased_dataset" / "train.jsonl", orient="records", lines=True
    )
    return folder


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line where `python` is the interpreter of the tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_command_runs_verbatim_and_leaves_what_it_promises(root: Path) -> None:
    output = {}
    for name, command in STEPS.items():
        result = shell(command, root)
        assert result.returncode == 0, f"{name}: {result.stderr[-2000:]}"
        output[name] = result.stdout

    gates = {
        name: HeadGates.load(root / f"gates_{name}.pt")
        for name in ("init", "retention", "removal", "contrastive", "init_seed42", "init_seed123")
    }
    assert all(g.logits.shape == (2, 4) for g in gates.values())
    assert gates["retention"].values.mean() > gates["removal"].values.mean()
    assert torch.equal(gates["init"].logits, gates["init_seed42"].logits)
    assert not torch.equal(gates["init"].logits, gates["init_seed123"].logits)
    metadata = gates["removal"].metadata
    assert (metadata["model"], metadata["lambda_reg"], metadata["seed"]) == ("gpt2", 0.1, 42)
    assert metadata["configuration"]["init"] == "gates_init.pt"
    assert metadata["dataset"] == "wikitext/wikitext-2-raw-v1:train"

    for text in ("ungated", "held-out", "open (> 0.7)", "updates", "tokens per second"):
        assert text in output["initialise"]
    for text in ("retain NLL", "forget accuracy", "before"):
        assert text in output["contrast"]

    individual = json.loads((root / "ablation_results.json").read_text())
    sequential = json.loads((root / "sequential_ablation.json").read_text())
    assert individual["dataset"].endswith(":validation")
    assert individual["baseline"] == pytest.approx(sequential["baseline"])
    assert individual["heads"][0]["score"] == pytest.approx(sequential["steps"][0]["score"])
    assert json.loads((root / "custom_results.json").read_text())["num_sequences"] == 6

    assert sorted(path.name for path in (root / "analysis_output").iterdir()) == [
        "gate_distribution.png",
        "head_rankings.csv",
        "importance_heatmap.png",
        "layer_importance.png",
        "summary_report.txt",
    ]


def in_bare_clone(code: str, folder: Path, *, cwd: str = ".") -> subprocess.CompletedProcess[str]:
    """Run Python without chg installed, in a copy of `src` that it can be imported from."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("tiny"))
    blocker = (
        "import sys; sys.path = [p for p in sys.path if not p.rstrip('/').endswith('/src')]\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
    )
    return subprocess.run(
        [sys.executable, "-c", blocker + code],
        cwd=folder / cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "verb"),
    [
        ("train/fit_gates", "fit"),
        ("train/eval_ablation", "ablate"),
        ("train/contrastive_chg", "contrast"),
        ("analysis/analyze", "analyze"),
    ],
)
def test_scripts_work_from_a_bare_clone(script: str, verb: str, tmp_path: Path) -> None:
    code = (
        "import runpy\n"
        f"sys.argv = ['{script}.py', '--help']\n"
        f"runpy.run_path('src/{script}.py', run_name='__main__')\n"
    )
    result = in_bare_clone(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"chg {verb}" in result.stdout


def test_the_gate_wrapper_is_imported_from_a_bare_clone(tmp_path: Path) -> None:
    code = (
        "import gate_wrapper, chg\n"
        "assert all(getattr(gate_wrapper, n) is getattr(chg, n) for n in gate_wrapper.__all__)\n"
        "print(chg.__file__)\n"
    )
    result = in_bare_clone(code, tmp_path, cwd="src/model")
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()) == tmp_path / "src" / "chg" / "__init__.py"


class Looker(nn.Module):
    """Causal attention of four heads under names that nobody looks for."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.merger = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.mixed(x).view(*x.shape[:2], 3, 4, 8).transpose(1, 3).unbind(2)
        heads = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.merger(heads.transpose(1, 2).flatten(2))


class Stranger(nn.Module):
    """A language model of a type that nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="stranger", num_attention_heads=4)
        self.embed = nn.Embedding(16, 32)
        self.layers = nn.ModuleList(nn.ModuleDict({"looker": Looker()}) for _ in range(2))

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = x + layer["looker"](x)
        return SimpleNamespace(logits=x @ self.embed.weight.T)


def test_the_advice_for_a_model_that_is_not_recognised_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Print the model, as the specification says; what was to be adapted is registered instead."""
    monkeypatch.setattr("chg.models.layouts._registered", {})
    wrapper = SimpleNamespace(**runpy.run_path(str(ROOT / "src" / "model" / "gate_wrapper.py")))
    model, ids = Stranger(), torch.arange(8)[None]
    with pytest.raises(ChgError) as caught:
        wrapper.get_attention_module(model, 0)
    message = str(caught.value)
    for line in ("(looker): Looker(", "(merger): Linear("):
        assert line in str(model)
        assert line in message
    (call,) = re.findall(r"chg\.(register_architecture\(.*?\))", message)
    call = call.replace("NAME_IN_LAYER", "looker").replace("NAME_IN_ATTENTION", "merger")
    exec(call, vars(wrapper))
    assert wrapper.get_attention_module(model, 1) is model.get_submodule("layers.1.looker")
    plain, gates = model(ids).logits, torch.ones(2, 4)
    with wrapper.gated(model, gates):
        assert torch.equal(model(ids).logits, plain)
    gates[1, 2] = 0
    with wrapper.gated(model, gates):
        assert not torch.allclose(model(ids).logits, plain)


def test_nothing_else_lives_beside_the_entry_scripts() -> None:
    for folder, names in (
        ("model", {"gate_wrapper.py"}),
        ("train", {"fit_gates.py", "eval_ablation.py", "contrastive_chg.py"}),
        ("analysis", {"analyze.py"}),
    ):
        files = {path.name for path in (ROOT / "src" / folder).glob("*.py")}
        assert files == names
