"""Inference leaves the caller's model and process as they were, and sees every change of the weights."""

import copy
import gc
import pickle
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

from heads import MapClassifier, create_pooling
from wsl import Predictor

CPU = torch.device("cpu")


def use(predictor: Predictor, photos) -> None:
    """Everything that a predictor does."""
    predictor(photos[0])
    predictor(photos)
    list(predictor.stream(photos, workers=2))
    list(predictor.class_maps(photos))
    pickle.dumps(predictor)


@pytest.mark.parametrize("name", ["tinynet", "resnet18"])
@pytest.mark.parametrize("pooling", ["gap", "lse(beta=4)", "netvlad(clusters=2)"])
@pytest.mark.quick("name, pooling", lambda one: one[0] == "tinynet")
def test_the_callers_model_stays_as_it_is(new_model, photos, name, pooling):
    model = new_model(name) if pooling == "gap" else new_model(name, pooling=pooling)
    model.train()
    model.backbone.net.eval()  # a mixed mode, as in fine-tuning with frozen batch norms
    frozen = next(model.backbone.parameters()).requires_grad_(False)
    model(torch.randn(2, 3, 64, 64)).scores.sum().backward()
    hooked = []
    model.register_forward_hook(lambda *_: hooked.append("after"))
    model.backbone.register_forward_pre_hook(lambda *_: None)

    def state():
        modules = [(m.training, list(m._forward_hooks), list(m._forward_pre_hooks)) for m in model.modules()]
        tensors = [
            (key, tensor.data_ptr(), tensor._version, tensor.dtype, tensor.requires_grad, tensor.stride())
            for key, tensor in [*model.named_parameters(), *model.named_buffers()]
        ]
        grads = [None if p.grad is None else (p.grad.data_ptr(), p.grad._version) for p in model.parameters()]
        return modules, tensors, grads, list(model.state_dict()), repr(model)

    before, values = state(), copy.deepcopy(model.state_dict())
    use(Predictor(model, device="cpu", refine="auto"), photos)
    assert state() == before
    assert all(torch.equal(tensor, values[key]) for key, tensor in model.state_dict().items())
    assert not hooked
    assert not frozen.requires_grad
    model(torch.randn(2, 3, 64, 64)).scores.sum().backward()  # and it can be trained on
    assert hooked == ["after"]


def test_no_global_setting_of_the_process_changes(tinynet, photos):
    def settings():
        return (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.benchmark,
            torch.backends.mkldnn.enabled if hasattr(torch.backends.mkldnn, "enabled") else None,
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002 - the global one is meant
        )

    before = settings()
    use(Predictor(tinynet, device="cpu"), photos)
    assert settings() == before


@pytest.fixture
def three_threads():
    """torch computes with three threads while the test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_is_the_callers_while_a_stream_is_open_too(tinynet, photos, three_threads):
    def in_a_new_thread():
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return seen[0]

    predictor = Predictor(tinynet, device="cpu")
    stream = predictor.stream(photos * 5)
    assert (torch.get_num_threads(), in_a_new_thread()) == (3, 3)
    next(stream)
    assert (torch.get_num_threads(), in_a_new_thread()) == (3, 3)
    assert len(list(stream)) == 5 * len(photos) - 1
    assert (torch.get_num_threads(), in_a_new_thread()) == (3, 3)


def test_another_default_dtype_makes_no_difference(tinynet, photos, assert_same):
    expected = Predictor(tinynet, device="cpu", precision="fp32")(photos[0])
    torch.set_default_dtype(torch.float64)
    try:
        found = Predictor(tinynet, device="cpu", precision="fp32")(photos[0])
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(found, expected, tolerance=1e-5)


def test_a_predictor_works_inside_inference_mode_autocast_and_without_gradients(tinynet, photos, assert_same):
    predictor = Predictor(tinynet, device="cpu", precision="fp32")
    expected = predictor(photos[0])
    autocast = torch.autocast("cpu", torch.bfloat16)
    for context in (torch.no_grad(), torch.inference_mode(), torch.enable_grad(), autocast):
        with context:
            assert_same(predictor(photos[0]), expected)
            assert_same(Predictor(tinynet, device="cpu", precision="fp32")(photos[0]), expected)


def test_later_training_does_not_change_a_predictor(new_model, photos, assert_same):
    model = new_model("tinynet")
    predictor = Predictor(model, device="cpu")
    before = predictor(photos[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert_same(predictor(photos[0]), before)


def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    model.train()(torch.randn(2, 3, 64, 64)).scores.sum().backward()
    optimizer.step()


def see_images(model):
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 64, 64))  # batch norms count


def load_other_weights(model):
    model.load_state_dict({key: tensor + 1 for key, tensor in model.state_dict().items()})


def replace_the_head(model):
    model.head = MapClassifier(model.backbone.out_channels, 4, pooling="gap")


def replace_the_pooling(model):
    model.head.pooling = create_pooling("gmp")


def replace_a_weight(model):
    model.head.conv.weight = nn.Parameter(model.head.conv.weight.detach() * 2)


CHANGES = [train, see_images, load_other_weights, replace_the_head, replace_the_pooling, replace_a_weight]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_made_ready_again(new_model, change):
    model = new_model("tinynet")
    before = model.for_inference(CPU, torch.float32)
    change(model)
    after = model.for_inference(CPU, torch.float32)
    assert after is not before
    images = torch.randn(2, 3, 64, 64)
    expected = model.eval()(images)
    found = after(images)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.maps_of(torch.arange(4).expand(2, 4)), expected.maps, rtol=1e-4, atol=1e-4)


def test_every_one_of_many_new_heads_is_seen(new_model):
    """New modules may lie where old ones lay, so places alone do not tell them apart."""
    model, images = new_model("tinynet"), torch.randn(1, 3, 64, 64)
    for _ in range(3):
        replace_the_head(model)
        model.for_inference(CPU, torch.float32)
        model.head = nn.Identity()
        gc.collect()
        replace_the_head(model)
        found = model.for_inference(CPU, torch.float32)(images).scores
        torch.testing.assert_close(found, model(images).scores, rtol=1e-4, atol=1e-4)


def test_an_unchanged_model_is_made_ready_once_for_each_arithmetic(new_model, photos):
    model = new_model("tinynet")
    ready = model.for_inference(CPU, torch.float32)
    use(Predictor(model, device="cpu", precision="fp32"), photos)
    model(torch.zeros(1, 3, 64, 64))
    model.train().eval()
    model.requires_grad_(False)
    assert model.for_inference(CPU, torch.float32) is ready
    assert model.for_inference(CPU, torch.bfloat16) is not ready
    assert model.for_inference(CPU, torch.float32) is ready


def test_threads_that_ask_at_once_share_one_copy(new_model):
    model, start, ready = new_model("tinynet"), threading.Barrier(4), []

    def ask():
        start.wait()
        ready.append(model.for_inference(CPU, torch.float32))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, ready))) == 1


def test_copies_pickles_and_checkpoints_do_not_carry_what_was_made_ready(new_model):
    model = new_model("tinynet")
    keys, size = list(model.state_dict()), len(pickle.dumps(model))
    ready = model.for_inference(CPU, torch.float32)
    assert list(model.state_dict()) == keys
    assert len(pickle.dumps(model)) == size
    images = torch.randn(1, 3, 64, 64)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 - our own bytes
        own = again.for_inference(CPU, torch.float32)
        assert own is not ready
        assert again.for_inference(CPU, torch.float32) is own
        torch.testing.assert_close(own(images).scores, ready(images).scores)
