"""Layout of the page in gradio: controls on the left, results on the right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, get_args

import gradio as gr

from wsl.config import BoxRule, Refine
from wsl.config.shared import BOX_DEFAULTS, CAM_METHODS
from wsl.documents.guard import describe
from wsl.errors import UserError
from wsl.page.controls import MANY, Controls, Settings, Shown
from wsl.page.looking import AUTO
from wsl.page.samples import sample_photographs

OWN, NOTHING = "the model's own", "nothing"
POOLINGS = ("gap", "gmp", "lse(beta=4)", "kmax(k=0.1)", "weldon(k_max=0.1, k_min=0.1)", "wildcat(k_max=0.1, alpha=0.7)")
STYLE = """
.gradio-container { width: 100%; max-width: 1200px !important; margin: auto !important; }
footer { display: none !important; }
.credits, .credits p { font-size: 12px; opacity: 0.8; }
#rooms { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); grid-template-rows: auto 1fr; }
#upload { grid-area: 1 / 1; }
#results { grid-area: 1 / 2 / 3 / 2; }
#knobs { grid-area: 2 / 1; align-self: start; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  #rooms { grid-template-columns: minmax(0, 1fr); }
  #upload, #results, #knobs { grid-area: auto; }
}
"""
# Methods that are too slow for a page, and the baselines.
_LEFT_OUT = ("scorecam", "ablationcam", "random", "centre")
_METHODS = tuple(name for name in CAM_METHODS if name not in _LEFT_OUT)
_REFINES = tuple(name for name in get_args(Refine) if name != "grabcut")
_WAITING = 16
_CLEANED_EVERY, _OLDEST = 300, 3600  # seconds, of uploads


def theme() -> Any:
    """A theme with the system's fonts, so that no other machine is asked for any."""
    return gr.themes.Base(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))


def page(controls: Controls) -> Any:
    """The page for the given controls, ready to be launched."""
    with gr.Blocks(title="wsl-toolkit", analytics_enabled=False, delete_cache=(_CLEANED_EVERY, _OLDEST)) as blocks:
        gr.Markdown("# Where is it?\nThe model was only told *what* is in images. Its maps say *where*.")
        with gr.Row(elem_id="rooms"):
            with gr.Column(elem_id="upload"):
                with gr.Tab("One image") as one_tab:
                    upload = {"type": "filepath", "image_mode": None, "sources": ["upload", "clipboard"]}
                    file = gr.Image(**upload, label="Image", height=260)
                    # gradio would open uploads, and say nothing of what is wrong; `read_image` does, within its limits.
                    file.preprocess = lambda payload: payload and payload.path
                    _samples(file)
                with gr.Tab("Many images") as many_tab:
                    files = gr.Files(label=f"Up to {MANY} images", file_types=["image"])
                    start = gr.Button("Localize", variant="primary")
            with gr.Column(elem_id="results"):
                with gr.Column() as one_side, gr.Row():
                    first, second = _side("Map and boxes"), _side("Beside it", visible=False)
                taken = gr.Files(label="Boxes as COCO, VOC and YOLO, and the picture", interactive=False)
                with gr.Column(visible=False) as many_side:
                    gallery = gr.Gallery(label="Maps and boxes", show_label=False, object_fit="contain", format="png")
                    skipped = gr.Markdown()
                    archive = gr.File(label="Boxes as COCO, VOC and YOLO, and the pictures", interactive=False)
            with gr.Column(elem_id="knobs"):
                knobs = _knobs(controls)
        sides = [one_side, many_side, taken]
        for tab, many in ((one_tab, False), (many_tab, True)):
            shown = [gr.update(visible=not many), gr.update(visible=many), gr.update(visible=not many)]
            tab.select(lambda shown=shown: shown, None, sides, show_progress="hidden")
        uploaded = gr.State(None, delete_callback=lambda before: controls.remove_upload(before, None))
        file.change(controls.remove_upload, [uploaded, file], uploaded, show_progress="hidden")
        moved = gr.State(False)
        inputs = [file, moved, *knobs.values()]
        outputs = [*first, *second, knobs["label"], knobs["threshold"], taken]
        # On every output, progress and errors would be told seven times over.
        wiring: dict[str, Any] = {
            "show_progress": "minimal",
            "show_progress_on": first[1],
            "trigger_mode": "always_last",
        }

        def show(*values: Any) -> list[Any]:
            return _shown(controls, dict(zip(["file", "moved", *knobs], values, strict=True)))

        # A threshold set by hand is kept until the model, method or refinement changes.
        knobs["threshold"].input(lambda: True, None, moved, show_progress="hidden")
        gr.on([knobs[name].change for name in ("model", "method", "refine")], lambda: False, None, moved).then(
            show, inputs, outputs, **wiring
        )
        others = [knobs[name].change for name in ("pooling", "beside", "rule", "opacity")]
        by_hand = [knobs["label"].input, knobs["threshold"].input]
        gr.on([file.change, *others, *by_hand], show, inputs, outputs, **wiring)
        start.click(
            lambda *values: _many_shown(controls, dict(zip(["files", "moved", *knobs], values, strict=True))),
            [files, moved, *knobs.values()],
            [gallery, skipped, archive, knobs["threshold"]],
            show_progress_on=gallery,
        )
    return blocks.queue(max_size=_WAITING, default_concurrency_limit=1)


def _samples(file: Any) -> None:
    """Example photographs, each a click away."""
    photographs = sample_photographs()
    if photographs:
        gr.Examples([[str(path)] for path in photographs], file, label="Or try an example")
        gr.Markdown("Photographs: " + "; ".join(photographs.values()), elem_classes="credits")


def _knobs(controls: Controls) -> dict[str, Any]:
    """The controls by name."""
    names = controls.shelf.names
    knobs = {
        "model": gr.Dropdown(
            names, value=names[0], label="Model", info="or any name of torchvision or timm", allow_custom_value=True
        ),
        "label": gr.Dropdown([""], value="", label="Class", info="empty: the most probable", allow_custom_value=True),
        "threshold": gr.Slider(
            0, 0.99, _start(controls, names[0]), step=0.01, label="Threshold", info="the model's own until you move it"
        ),
    }
    with gr.Accordion("Maps, poolings and boxes", open=False):
        knobs["method"] = gr.Dropdown(_METHODS, value=AUTO, label="CAM method")
        knobs["refine"] = gr.Dropdown(_REFINES, value="auto", label="Refinement")
        knobs["rule"] = gr.Dropdown([AUTO, *get_args(BoxRule)], value=AUTO, label="Box rule")
        knobs["pooling"] = gr.Dropdown([OWN, *POOLINGS], value=OWN, label="Pooling", allow_custom_value=True)
        knobs["beside"] = gr.Dropdown(
            [NOTHING, *POOLINGS], value=NOTHING, label="Another pooling beside it", allow_custom_value=True
        )
        knobs["opacity"] = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity of the heatmap")
    return knobs


def _start(controls: Controls, name: str) -> float:
    """The threshold of the first model before the first image, if it is known."""
    with contextlib.suppress(UserError):  # of a run that cannot be read: the page tells it with the first image
        own = controls.own_threshold(Settings(model=name))
        if own is not None:
            return own
    return BOX_DEFAULTS["none"].threshold


def _side(title: str, *, visible: bool = True) -> list[Any]:
    with gr.Column(min_width=260, visible=visible) as column:
        return [
            column,
            gr.Image(label=title, show_label=False, interactive=False, format="png", buttons=["fullscreen"]),
            gr.Label(label="Probabilities", num_top_classes=5),
            gr.Dataframe(headers=["class", "x0", "y0", "x1", "y1", "score"], label="Boxes", interactive=False),
        ]


def _settings(values: dict[str, Any]) -> Settings:
    return Settings(
        model=values["model"] or "",
        pooling="" if values["pooling"] == OWN else values["pooling"] or "",
        label=values["label"] or "",
        method=values["method"],
        refine=values["refine"],
        threshold=values["threshold"] if values["moved"] else None,
        rule=None if values["rule"] == AUTO else values["rule"],
        opacity=values["opacity"],
    )


def _shown(controls: Controls, values: dict[str, Any]) -> list[Any]:
    if not values["file"]:
        with _told(), controls.request():
            own = None if values["moved"] else controls.own_threshold(_settings(values))
        threshold = gr.update() if own is None else own
        return [*_cells(None, True), *_cells(None, False), gr.update(), threshold, None]
    beside = None if values["beside"] in (None, "", NOTHING) else values["beside"]
    with _told(), controls.request():
        first, second, files = controls.localize(values["file"], _settings(values), beside)
    cells = [*_cells(first, True), *_cells(second, second is not None)]
    known = gr.update(choices=["", *first.known[:200]])
    return [*cells, known, first.threshold, [str(path) for path in files]]


def _many_shown(controls: Controls, values: dict[str, Any]) -> tuple[Any, str, str, float]:
    with _told(), controls.request():
        shown = controls.localize_many(values["files"] or [], _settings(values))
    lines = "\n".join(f"- skipped: {line}" for line in shown.skipped)
    return shown.pictures, lines, str(shown.archive), shown.threshold


def _cells(found: Shown | None, visible: bool) -> list[Any]:
    if found is None:
        return [gr.update(visible=visible), None, None, None]
    rows = zip(found.boxes.xyxy.tolist(), found.boxes.scores.tolist(), strict=True)
    table = [[found.label, *(f"{edge:.1f}" for edge in xyxy), f"{score:.3f}"] for xyxy, score in rows]
    return [gr.update(visible=True), found.picture, found.top, table]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn every error inside the block into one line on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except Exception as error:  # whatever a model or a pooling makes of these settings
        reason = describe(error)
        raise gr.Error(f"this does not work with these settings ({reason})", print_exception=False) from error
