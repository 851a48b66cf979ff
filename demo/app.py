"""The web page: drop an image, choose a model, a pooling and a class, move the threshold, take the boxes along.

    python demo/app.py                      # the demo's own models, after `make demo`
    python demo/app.py --runs runs photos   # all run folders below these, too

It listens on this machine only, and answers to no other name of it. Uploads and downloads lie in a temporary folder: an
upload until another image takes its place, all of them for an hour or until the page ends, by whatever signal.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from page import METHODS, Method, Prediction, choices, predict, write_downloads

from wsl.documents.guard import describe
from wsl.errors import UserError
from wsl.images import read_image
from wsl.interrupts import Stopped, stoppable
from wsl.models import CamLocalizer, Localizer, OnnxLocalizer, open_model

MAX_UPLOAD, MAX_PIXELS = "20mb", 40_000_000
WAITING, KEPT = 16, 16  # requests in the queue, requests whose downloads are there
CLEANED_EVERY, OLDEST = 300, 3600  # seconds, of uploads
HOSTS = ("127.0.0.1", "localhost")
OWN = "the model's own"
PRETRAINED = ("resnet50", "mobilenet_v2", "densenet121")
SYSTEM_FONTS = ("system-ui", "sans-serif")
NOTHING = "nothing"
POOLINGS = ("gap", "gmp", "lse(beta=4)", "kmax(k=0.1)", "weldon(k_max=0.1, k_min=0.1)", "wildcat(k_max=0.1, alpha=0.7)")


def find_runs(folders: Sequence[Path]) -> list[str]:
    """Run folders at and below some folders."""
    files = (file for folder in folders for file in sorted(folder.glob("**/model.safetensors")))
    return [file.parent.as_posix() for file in files]


@functools.lru_cache(maxsize=4)
def model_named(name: str) -> Localizer | CamLocalizer:
    """The model of a run folder, or a pretrained one by name."""
    model = open_model(name)
    if isinstance(model, OnnxLocalizer):
        raise UserError(f"{name} runs outside PyTorch: the page takes run folders and names of classifiers")
    return model.eval()


class Page:
    """What the page's controls do. Downloads are written below ``folder``, each into a folder of its own."""

    def __init__(self, models: Sequence[str], folder: Path) -> None:
        self.models, self.folder = tuple(models), folder
        self._downloads: deque[Path] = deque()
        self._under_way, self._closed = threading.Lock(), False

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """One at a time, and none after `close`.

        Raises:
            UserError: the page is closed.
        """
        with self._under_way:
            if self._closed:
                raise UserError("the page is closed: start it again")
            yield

    def close(self) -> None:
        """Wait for the request under way and refuse later ones: from now on nothing is written below ``folder``."""
        with self._under_way:
            self._closed = True

    def localize(
        self,
        file: str | None,
        name: str,
        pooling: str,
        other: str,
        label: str,
        method: Method,
        threshold: float,
        opacity: float,
    ) -> tuple[Prediction, Prediction | None, list[Path], list[str]]:
        """One image by one pooling, and by another when asked; the files to take along; classes to choose from.

        Raises:
            UserError: no image, one that cannot be read, or a setting that the model does not know.
        """
        if not file:
            raise UserError("no image yet: drop one on the left")
        if name not in self.models:
            raise UserError(f"no model {name!r}: expected one of the list")
        image, model = read_image(file, MAX_PIXELS), model_named(name)
        wanted = label if label in model.classes else ""

        def found(spec: str, label: str) -> Prediction:
            spec = "" if spec == OWN else spec
            return predict(image, model, pooling=spec, label=label, method=method, threshold=threshold, opacity=opacity)

        first = found(pooling, wanted)
        # The same class on both sides, or there would be nothing to compare.
        second = found(other, first.label) if other and other != NOTHING else None
        files = write_downloads(first, Path(file).name, self._new_folder())
        return first, second, files, [*choices(model, first)]

    def _new_folder(self) -> Path:
        """A folder for the downloads of a request; those of requests long ago are removed."""
        self._downloads.append(Path(tempfile.mkdtemp(dir=self.folder)))
        while len(self._downloads) > KEPT:
            shutil.rmtree(self._downloads.popleft(), ignore_errors=True)
        return self._downloads[-1]

    def remove_upload(self, before: str | None, now: str | None) -> str | None:
        """Remove an upload that another one took the place of, or that was taken off the page; give the one there."""
        if before and before != now and Path(before).resolve().is_relative_to(self.folder.resolve()):
            Path(before).unlink(missing_ok=True)
        return now

    def blocks(self) -> Any:
        """The page itself."""
        import gradio as gr

        with gr.Blocks(title="wsl-toolkit", analytics_enabled=False, delete_cache=(CLEANED_EVERY, OLDEST)) as page:
            gr.Markdown(
                "# Where is it?\nDrop or paste an image. The model knows only what is in it; its map says where."
            )
            with gr.Row():
                with gr.Column(scale=1, min_width=300):
                    # Without a mode of its own gradio decodes nothing, whatever was uploaded: that is `read_image`'s.
                    upload = {"type": "filepath", "image_mode": None, "sources": ["upload", "clipboard"]}
                    file = gr.Image(**upload, label="Image", height=260)
                    name = gr.Dropdown(self.models, label="Model", value=self.models[0])
                    pooling = gr.Dropdown([OWN, *POOLINGS], value=OWN, label="Pooling", allow_custom_value=True)
                    other = gr.Dropdown([NOTHING, *POOLINGS], value=NOTHING, label="Beside it", allow_custom_value=True)
                    label = gr.Dropdown([""], value="", label="Class (empty: the best)", allow_custom_value=True)
                    method = gr.Radio(METHODS, value=METHODS[0], label="Map")
                    threshold = gr.Slider(0, 0.99, 0.2, step=0.01, label="Threshold")
                    opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity")
                with gr.Column(scale=2), gr.Row():
                    sides = [_side(gr, "Pooling"), _side(gr, "Beside it")]
            files = gr.Files(label="Take along: boxes as COCO, VOC and YOLO, and the picture", interactive=False)
            uploaded = gr.State(None, delete_callback=lambda before: self.remove_upload(before, None))
            file.change(self.remove_upload, [uploaded, file], uploaded, show_progress="hidden")
            inputs = [file, name, pooling, other, label, method, threshold, opacity]
            outputs = [*sides[0], *sides[1], label, files]
            gr.on(
                [control.change for control in inputs if control is not label] + [label.input],
                lambda *settings: self._shown(gr, *settings),
                inputs,
                outputs,
                show_progress="minimal",
                trigger_mode="always_last",
            )
        return page.queue(max_size=WAITING, default_concurrency_limit=1)

    def _shown(self, gr: Any, file: str | None, *settings: Any) -> list[Any]:
        if not file:
            return [None] * 6 + [gr.update(), None]
        try:
            with self.request():
                first, second, files, known = self.localize(file, *settings)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:  # whatever a model or a pooling makes of these settings
            reason = describe(error)
            raise gr.Error(f"this does not work with these settings ({reason})", print_exception=False) from error
        return [*_cells(first), *_cells(second), gr.update(choices=["", *known]), [str(path) for path in files]]


def _side(gr: Any, title: str) -> list[Any]:
    with gr.Column(min_width=260):
        return [
            gr.Image(label=title, interactive=False, format="png", buttons=["fullscreen"]),
            gr.Label(label="Scores", num_top_classes=5),
            gr.Dataframe(headers=["class", "x0", "y0", "x1", "y1", "score"], label="Boxes", interactive=False),
        ]


def _cells(found: Prediction | None) -> list[Any]:
    if found is None:
        return [None, None, None]
    rows = zip(found.boxes.xyxy.tolist(), found.boxes.scores.tolist(), strict=True)
    table = [[found.label, *(f"{edge:.1f}" for edge in xyxy), f"{score:.3f}"] for xyxy, score in rows]
    return [found.picture, dict(found.top), table]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="*", default=[Path(__file__).parent / "out"], help="folders of runs")
    parser.add_argument("--pretrained", action="store_true", help=f"also offer {', '.join(PRETRAINED)} (downloaded)")
    parser.add_argument("--port", type=int, default=7860, help="on 127.0.0.1 (default: %(default)s)")
    given = parser.parse_args(arguments)
    models = find_runs(given.runs) + (list(PRETRAINED) if given.pretrained else [])
    if not models:
        places = ", ".join(map(str, given.runs))
        print(f"error: no run below {places}: `make demo` makes some, or add --pretrained", file=sys.stderr)
        return 2
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import, which reads it
    with tempfile.TemporaryDirectory(prefix="wsl-page-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            import gradio as gr
        except ImportError:
            print("error: the page needs the demo extra: pip install 'wsl-toolkit[demo]'", file=sys.stderr)
            return 2
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        # A page of another site that makes its name mean this machine would else read along.
        trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))
        theme = gr.themes.Base(font=SYSTEM_FONTS, font_mono=("ui-monospace", "monospace"))
        page = Page(models, Path(folder))
        blocks = page.blocks()
        try:
            with stoppable():
                blocks.launch(
                    server_name="127.0.0.1",
                    server_port=given.port,
                    max_file_size=MAX_UPLOAD,
                    theme=theme,
                    share=False,
                    app_kwargs={"middleware": [trusted]},
                    prevent_thread_lock=True,  # gradio's own wait takes every signal for a good end
                )
                while True:
                    time.sleep(CLEANED_EVERY)
        except KeyboardInterrupt as stop:
            page.close()
            if blocks.server:
                blocks.server.close()
            return stop.exit_code if isinstance(stop, Stopped) else 130
        except OSError as error:
            print(f"failed: port {given.port} cannot be used ({error}): choose another --port", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
