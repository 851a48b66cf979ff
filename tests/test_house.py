"""What the distribution holds, what its rooms promise, and that growing the command line is a visible decision."""

import dataclasses
import subprocess
import sys
import tomllib
import typing
import zipfile
from pathlib import Path

import pytest

import wsl
from wsl import config
from wsl.errors import UserError

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_wsl_and_heads_only(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"wsl", "heads"}
    assert "wsl/py.typed" in zipfile.ZipFile(wheel).namelist()
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".md") and "dist-info" not in name]


def test_tools_tests_and_demo_are_not_importable_from_elsewhere(tmp_path):
    for name in ("tools", "tests", "demo"):
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is not None)"
        assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


OPTIONAL = ["timm", "hub", "transformers", "tensorboard", "shards", "label-studio", "demo"]


def test_the_lowest_versions_are_those_that_are_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    allowed = dict(
        line.split(">=") for line in (*project["dependencies"], *(line for name in OPTIONAL for line in extras[name]))
    )
    pins = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    lowest = dict(line.split("==") for line in pins if not line.startswith("#"))
    assert set(allowed) - set(lowest) == {"gradio"}
    for name, version in lowest.items():
        assert f"{version}.".startswith(f"{allowed[name]}."), name


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.long
def test_heads_brings_nothing_beyond_torch():
    extra = loaded_by("import torch, heads") - loaded_by("import torch")
    assert extra - set(sys.stdlib_module_names) - {"_decimal"} == {"heads"}


def test_help_does_not_wait_for_torch():
    assert "torch" not in loaded_by("import wsl, wsl.cli")


def test_the_face_is_small_and_every_name_of_it_is_there():
    assert len(wsl.__all__) <= 25
    assert dir(wsl) == sorted(wsl.__all__)
    for name in wsl.__all__:
        assert getattr(wsl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        wsl.nothing  # noqa: B018


def flags(kind: type, prefix: str = "") -> list[str]:
    hints = typing.get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        inner = hints[field.name]
        inner = next(filter(dataclasses.is_dataclass, typing.get_args(inner)), inner)  # X | None
        found += flags(inner) if dataclasses.is_dataclass(inner) else [field.name]
    return found


RUNTIME = ["device", "precision", "workers", "strict"]
DATA = ["data", "format", "image_root", "year", "download", "uncertain", "val_fraction", "split_seed"]
BOXES = ["threshold", "box_rule", "min_area", "box_score", "nms_iou", "detector"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            config.TrainConfig,
            [
                *DATA,
                *("out", "train_split", "val_split"),
                *("backbone", "weights", "pooling", "head", "neck", "maps_per_class", "output_stride", "padding"),
                *("downsampling", "image_size", "resize", "mean", "std"),
                *("epochs", "batch_size", "accumulate", "loss", "augment", "erase", "class_weights", "sampling"),
                *("optimizer", "lbfgs_penalty", "lr", "backbone_lr_factor", "freeze_backbone"),
                *("weight_decay", "schedule", "warmup_epochs", "ema", "batch_norm", "clip_norm", "min_crop", "flip"),
                *("probe", "probe_penalty"),
                *("decode", "decoder_rounds", "decoder_epochs", "decoder_batch_size", "decoder_lr"),
                *("decoder_weight_decay", "decoder_cache"),
                *("detect", "detector_rounds", "detector_epochs", "detector_batch_size", "detector_lr"),
                *("detector_weight_decay", "detector_mosaics", "detector_cache"),
                *RUNTIME,
                *(
                    "cache",
                    "cache_size",
                    "compile",
                    "checkpointing",
                    "seed",
                    "resume",
                    "overwrite",
                    "best_by",
                    "patience",
                    "save_every",
                    "tensorboard",
                    "track",
                ),
            ],
        ),
        (
            config.LocalizeConfig,
            [
                *("sources", "weights", "out", *DATA, "split", "labels"),
                *("local_weights", "cam", "layers", "model", "top_k", "score_threshold", "classes"),
                *BOXES,
                *("heatmaps", "heatmap_layout", "maps", "refine", "tta", "image_size", "batch_size"),
                *("resume", "overwrite", "dry_run"),
                *("tile", "overlap", "bands"),
                *("engine", "shard_size", "shard", "manifest_only", "processes", "decoders"),
                *("retry_failed", "image_seconds"),
                *RUNTIME,
            ],
        ),
        (
            config.EvaluateConfig,
            [
                *DATA,
                *(
                    "out",
                    "split",
                    "predictions",
                    "predictions_format",
                    "weights",
                    "local_weights",
                    "cam",
                    "layers",
                    "model",
                ),
                *("protocol", "metrics", "num_thresholds", "aligned", "select_threshold"),
                *("faithfulness", "faithfulness_steps", "stability"),
                *("plots", "all", "per_class", "table", "report_classes"),
                *BOXES,
                *("refine", "tta", "image_size", "batch_size", "processes"),
                *RUNTIME,
            ],
        ),
        (
            config.CompareConfig,
            [
                *("runs", *DATA, "split", "out", "names", "baseline", "metrics", "report_classes"),
                *("protocol", "select_threshold", "agreement", "table", "figure"),
                *BOXES,
                *("refine", "image_size", "batch_size"),
                *RUNTIME,
            ],
        ),
        (
            config.VisualizeConfig,
            [
                *("predictions", "out", *DATA, "split", "report", "against", "evaluation"),
                *("images", "sheet", "per_class", "file_format"),
                *("columns", "rows", "limit", "opacity", "color_map"),
            ],
        ),
        (
            config.ExportConfig,
            [
                *(
                    "sources",
                    "format",
                    "out",
                    "overwrite",
                    "source_format",
                    "classes",
                    "min_score",
                    "keep_empty",
                    "keep_unreviewed",
                    "scores",
                    "image_root",
                ),
                *("copy_images", "layout", "reference", "crs", *BOXES, "reviewed", "only_reviewed", "image_size"),
            ],
        ),
    ],
)
def test_the_list_of_flags_is_frozen(kind, expected):
    assert flags(kind) == expected
    assert len(set(expected)) == len(expected), "flags share one flat name space"


def test_settings_survive_their_file():
    settings = config.TrainConfig(
        data=config.DataConfig(data=Path("a b/VOC"), year="2007"),
        out=Path("runs/ä"),
        val_split=None,
        optim=config.OptimConfig(clip_norm=0.1, lr=1e-5, loss="soft-margin"),
    )
    assert config.from_json(config.to_json(settings), config.TrainConfig) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "expected names with values"),
        ('{"top_q": 3}', "top_q"),
        ('{"top_k": "many"}', "top_k"),
        ('{"top_k": 0}', "expected 1 or more"),
    ],
)
def test_settings_of_strangers_are_checked(text, message):
    with pytest.raises(UserError, match=message):
        config.from_json(text, config.PickConfig)
