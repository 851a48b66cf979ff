"""A model as a repository of the Hugging Face hub: its checkpoint and a model card with usage."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wsl.checkpoints import FILE_NAME, Recipe
from wsl.errors import RunError, UserError, first_line, listed, printable
from wsl.hub import Address, fetch_run, hub_address, hub_client, quiet
from wsl.models.checkpoint import save

if TYPE_CHECKING:
    from wsl.models.localizer import Localizer

_NAMES = 50


def push_to_hub(
    model: Localizer, name: str, *, private: bool | None = None, revision: str | None = None, token: str | None = None
) -> str:
    """Upload a model, and return the address from which it is loaded; see `Localizer.push_to_hub`.

    Raises:
        UserError: the name is not that of a repository, huggingface_hub is not installed, or the model cannot be saved.
        RunError: the hub refused the upload, or cannot be reached.
    """
    address = hub_address(name if name.startswith("hf:") else f"hf://{name}")
    assert address is not None
    if address.revision is not None:
        raise UserError(f"{name} names a revision to read: expected user/model, and revision=… for the branch to write")
    hub = hub_client()
    api = hub.HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        save(model, Path(scratch, FILE_NAME))
        Path(scratch, "README.md").write_text(model_card(model.recipe, address), encoding="utf-8")
        try:
            with quiet(hub):
                api.create_repo(address.name, private=private, exist_ok=True)
                if revision is not None:
                    api.create_branch(address.name, branch=revision, exist_ok=True)
                api.upload_folder(
                    repo_id=address.name, folder_path=scratch, revision=revision, commit_message="Upload a model"
                )
        except Exception as error:  # from the hub's client, its HTTP library, or the system
            raise RunError(
                f"{address} could not be uploaded ({first_line(error)}): log in with `hf auth login`, or give token=…"
            ) from error
    fetch_run.cache_clear()  # it may hold the previous state
    return str(address._replace(revision=revision))


def model_card(recipe: Recipe, address: Address) -> str:
    """The README.md of a repository.

    >>> from wsl.config import Preprocessing
    >>> recipe = Recipe(backbone="resnet50", pooling="gap", classes=("cat",), preprocessing=Preprocessing())
    >>> print(model_card(recipe, Address("someone/cats")).partition("# ")[2].splitlines()[0])
    cats
    """
    title = address.name.partition("/")[2]
    names = json.dumps(printable(listed(recipe.classes, _NAMES)), ensure_ascii=False)
    return f"""---
library_name: wsl-toolkit
pipeline_tag: image-classification
tags: [weakly-supervised-localization, class-activation-map]
---
# {title}

A classifier of {len(recipe.classes)} classes ({recipe.backbone}, {recipe.head or recipe.pooling}) that localizes by its
class maps, trained with wsl-toolkit. Classes: {names}.

```python
import wsl

model = wsl.load("{address}")
found = wsl.Predictor(model)("photo.jpg")
```

```
wsl-localize photos/ --weights {address} --out found
```
"""
