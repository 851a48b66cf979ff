"""Heads by their settings: what does not go together, or asks for more memory than there is, is one line."""

import pytest
import torch

from wsl.errors import UserError
from wsl.models import Localizer
from wsl.models.create_head import create_head


@pytest.mark.parametrize(
    ("pooling", "classes", "message"),
    [
        ("attention(hidden=1000000000000)", 20, "with attention.* takes .* GB, expected 4.29 at most"),
        ("netvlad(clusters=10000000)", 20, "takes .* GB, expected 4.29 at most"),
        ("gap", 10**9, "a head of 1000000000 classes with gap takes"),
        ("attention(channels=3)", 20, "is for 3 channels, expected 64: leave channels out"),
        ("lse(learnable=true, classes=7)", 20, "is for 7 classes, expected 20: leave classes out"),
        ("attention(hidden=9999999999999999999999)", 20, "^[^\n]*Overflow[^\n]*$"),
    ],
)
def test_a_head_that_cannot_be_is_refused(pooling, classes, message):
    with pytest.raises(UserError, match=message):
        create_head(64, classes, head=None, pooling=pooling, neck=None, maps_per_class=1)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"pooling": "gpm"}, "did you mean 'gmp'"),
        ({"pooling": "kmax(q=2)"}, "has no argument 'q'"),
        ({"neck": "spblock"}, "did you mean 'sppblock'"),
        ({"downsampling": "softpol2d"}, "did you mean 'softpool2d'"),
    ],
)
def test_a_misspelt_part_is_refused_before_the_backbone_is_made(parts, message, monkeypatch):
    monkeypatch.setattr("wsl.models.localizer.create_backbone", lambda *_: pytest.fail("weights would be downloaded"))
    with pytest.raises(UserError, match=message):
        Localizer("resnet50", 3, **parts)


def test_the_check_draws_no_random_numbers():
    torch.manual_seed(0)
    model = Localizer("tinynet", 3, weights="none", pooling="attention(hidden=4)")
    torch.manual_seed(0)
    again = Localizer("tinynet", 3, weights="none", pooling="attention(hidden=4)")
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    torch.manual_seed(0)
    from heads import MapClassifier

    alone = MapClassifier(8, 3, "attention(hidden=4)").state_dict()
    torch.manual_seed(0)
    made = create_head(8, 3, head=None, pooling="attention(hidden=4)", neck=None, maps_per_class=1).state_dict()
    assert all(torch.equal(alone[name], made[name]) for name in alone)
