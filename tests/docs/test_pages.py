"""Links between the pages of the documentation lead somewhere, and the first page stays short."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"[a-z]+:")
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!\\)\]\(([^()\s]+(?:\([^()]*\)[^()\s]*)?)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
HIDDEN = {".git", ".venv", ".venv-lowest", ".venv-locked", "runs", "build", "dist", "out", "node_modules"}


def find_pages():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if listed.returncode == 0:
        return sorted(ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists())
    return sorted(page for page in ROOT.rglob("*.md") if not HIDDEN & {*page.relative_to(ROOT).parts})


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        repeated = 0
        while name + (f"-{repeated}" if repeated else "") in found:
            repeated += 1
        found.add(name + (f"-{repeated}" if repeated else ""))
    return found


def leads_somewhere(page, link):
    """Whether a relative link of a page is a file of the repository, and its anchor a heading of that file."""
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors(target.read_text(encoding="utf-8")))


def broken(page, text):
    """The relative links of a page that lead nowhere."""
    links = [link for link in LINK.findall(FENCED.sub("", text)) if not OUTSIDE.match(link)]
    return [link for link in links if not leads_somewhere(page, link)]


@pytest.mark.parametrize("page", find_pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    assert not broken(page, page.read_text(encoding="utf-8"))


def test_links_that_lead_nowhere_are_found():
    page = ROOT / "README.md"
    text = "# A b: `c`\n[a](#a-b-c) [b](nowhere.md) [c](#d) [d](https://x.org/y) [e](heads/README.md#nothing)\n"
    assert broken(page, text.replace("(#a-b-c)", "(LICENSE)")) == ["nowhere.md", "#d", "heads/README.md#nothing"]
    assert anchors(text) == {"a-b-c"}


def test_the_first_page_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180
