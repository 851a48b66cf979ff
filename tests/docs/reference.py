"""The API reference: HTML of every public docstring, the guide's pages, and ``llms.txt``, which lists both.

``python tests/docs/reference.py build/docs`` (``make docs``) writes them. It needs pdoc; nothing of it is committed.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import heads
import wsl

ROOT = Path(__file__).parents[2]
# Compiled loops and the command line are nobody's to call.
_PRIVATE = re.compile(r"(^|\.)(_\w*|kernels|cli)(\.|$)")
_PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("heads/**/*.md", "wsl/**/*.md", "demo/*.md", "tests/benchmarks/README.md"),
)


def public_modules() -> Iterator[ModuleType]:
    """Every module that a user may import, rooms before their modules, names that load on first use loaded.

    A module that needs a library which is not installed is left out.
    """
    for package in (heads, wsl):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not _PRIVATE.search(found.name):
                try:
                    yield importlib.import_module(found.name)
                except ImportError as error:
                    print(f"left out {found.name}: {error}", file=sys.stderr)


def load_lazy_names(module: ModuleType) -> None:
    """Put the names that a module's ``__getattr__`` gives into it, where pdoc looks."""
    if hasattr(module, "__getattr__"):
        for name in getattr(module, "__all__", ()):
            setattr(module, name, getattr(module, name))


def first_line(text: str | None) -> str:
    """The first sentence of a docstring, or its first line."""
    return (text or "").strip().partition("\n")[0]


def llms_txt(modules: list[ModuleType], pages: list[Path]) -> str:
    """An index of pages and modules in the form of https://llmstxt.org."""
    lines = ["# wsl-toolkit", "", f"> {first_line(wsl.__doc__)}", "", "## Guide", ""]
    for page in pages:
        title = re.search(r"^# (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        lines.append(f"- [{title[1] if title else page.stem}]({page.as_posix()})")
    lines += ["", "## API", ""]
    lines += [
        f"- [{module.__name__}]({module.__name__.replace('.', '/')}.html): {first_line(module.__doc__)}"
        for module in modules
    ]
    return "\n".join(lines) + "\n"


def guide_pages() -> list[Path]:
    """The pages of the guide, relative to the repository, the first page first."""
    found = [path.relative_to(ROOT) for pattern in _PAGES for path in sorted(ROOT.glob(pattern))]
    return list(dict.fromkeys(found))


def main() -> None:
    """Write the reference into a folder, which is emptied first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    import pdoc

    modules = list(public_modules())
    for module in modules:
        load_lazy_names(module)
    shutil.rmtree(out, ignore_errors=True)
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"wsl-toolkit {wsl.__version__}")
    with warnings.catch_warnings():
        # The fields of a NamedTuple are annotated in its module, where pdoc does not look for their types.
        warnings.filterwarnings("ignore", "Error parsing type annotation")
        # pdoc adds the modules of a package to it, and each of them is also named.
        warnings.filterwarnings("ignore", "The module specification")
        pdoc.pdoc(*(module.__name__ for module in modules), output_directory=out)
    pages = guide_pages()
    for page in pages:
        (out / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, out / page)
    (out / "llms.txt").write_text(llms_txt(modules, pages), encoding="utf-8")
    print(f"{len(modules)} modules and {len(pages)} pages: {out / 'index.html'}, {out / 'llms.txt'}")


if __name__ == "__main__":
    main()
