"""Modules that hold the network and give several tensors: the layer to read is the one that the scores are made of."""

import pytest
import torch
from torch import nn

from wsl.cam.survey import survey
from wsl.models import Localizer


class Body(nn.Module):
    """A map, and its mean beside it where `pooled`."""

    def __init__(self, pooled):
        super().__init__()
        self.conv, self.pooled = nn.Conv2d(3, 8, 3, stride=4), pooled

    def forward(self, images):
        maps = self.conv(images)
        return {"maps": maps, "mean": maps.mean((2, 3))} if self.pooled else {"maps": maps}


class Net(nn.Module):
    def __init__(self, pooled):
        super().__init__()
        self.body, self.fc = Body(pooled), nn.Linear(8, 3)

    def forward(self, images):
        found = self.body(images)
        return self.fc(found["mean"] if "mean" in found else found["maps"].mean((2, 3)))


@pytest.mark.parametrize(("pooled", "name"), [(True, "body.conv"), (False, "body")])
def test_a_container_stands_for_its_last_layer_only_where_it_gives_nothing_else(pooled, name):
    torch.manual_seed(0)
    net, images = Net(pooled).eval(), torch.randn(2, 3, 32, 32)
    found = survey(net, net, images)
    assert (found.last.name, found.last.counts) == (name, True)
    model = Localizer.from_classifier(net, method="gradcam")
    scores, maps = model(images)
    torch.testing.assert_close(scores, net(images), atol=1e-5, rtol=0)
    assert maps.any()


class Attention(nn.Module):
    """Queries, keys and values by layers of their own, as in transformers."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, tokens):
        parts = (layer(tokens)[:, None] for layer in (self.query, self.key, self.value))
        return nn.functional.scaled_dot_product_attention(*parts)[:, 0]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(16), Attention()

    def forward(self, tokens):
        return tokens + self.attention(self.norm(tokens))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.zeros(1, 1, 16))
        self.blocks, self.fc = nn.Sequential(Block(), Block()), nn.Linear(16, 3)

    def forward(self, images):
        patches = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1)
        return self.fc(self.blocks(tokens)[:, 0])


def test_the_layer_of_a_class_token_is_what_the_last_attention_reads():
    torch.manual_seed(0)
    net = Transformer().eval()
    found = survey(net, net, torch.randn(2, 3, 32, 32))
    assert found.by_class_token
    assert found.blocks == ("blocks.0", "blocks.1")
    assert found.last.name == "blocks.1.norm"
