"""Poolings as other programs run them: ONNX, several processes, half-compiled heads."""

import pytest
import torch
from torch import nn
from torch.export import Dim

import heads
from heads import MapClassifier
from heads.pooling import Adaptive, Cat

SPECS = [
    "gmp",
    "gap",
    "kmax(k=3)",
    "kmax(k=0.2)",
    "lse(beta=4)",
    "lse(learnable=True, classes=3)",
    "weldon(k_max=0.2, k_min=3)",
    "wildcat(k_max=0.2, alpha=0.7)",
    "mixed(mode=random)",
    "add",
    "cat",
    "gem(p=3)",
    "gem(of=probabilities)",
    "softpool",
    "stochastic",
    "median",
    "attention(hidden=4, channels=3)",
    "csra(heads=4)",
    "pcam",
    "gndp",
    "exp(of=probabilities)",
    "linear",
]


# A choice, a sort, a power, what is learnt, and what has another shape.
SHORT = ["kmax(k=0.2)", "median", "gem(of=probabilities)", "lse(learnable=True, classes=3)", "csra(heads=4)", "cat"]


class Everything(nn.Module):
    """Each pooling of the same maps: one program to export instead of twenty."""

    def __init__(self, specs):
        super().__init__()
        self.poolings = nn.ModuleList(heads.create_pooling(spec) for spec in specs)

    def forward(self, maps):
        return tuple(pooling(maps) for pooling in self.poolings)


def random_maps(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


# The exporter is what is slow, so all poolings go through it at once.
@pytest.mark.parametrize("specs", [SHORT, SPECS], ids=["short", "all"])
@pytest.mark.quick("specs", [SHORT])
def test_onnxruntime_gives_the_same_numbers(tmp_path, specs):
    onnxruntime = pytest.importorskip("onnxruntime")
    module, file = Everything(specs).eval(), tmp_path / "poolings.onnx"
    sizes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    torch.onnx.export(
        module, (random_maps(2, 3, 7, 6),), file, dynamo=True, dynamic_shapes=(sizes,), verbose=False, optimize=True
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 7, 6), (1, 3, 14, 9), (3, 3, 1, 1)):
        maps = random_maps(*shape)
        outputs = session.run(None, {session.get_inputs()[0].name: maps.numpy()})
        for spec, found, expected in zip(specs, outputs, module(maps), strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected, rtol=2e-5, atol=2e-5, msg=f"{spec} {shape}")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch knows no other processes")
def test_heads_train_under_distributed_data_parallel(tmp_path):
    """One process: what is tried is that the wrapper finds every parameter and its gradient."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        for spec in (
            "mixed(mode=learned)",
            "lse(learnable=true, classes=auto)",
            "cat",
            "attention(hidden=4)",
            "csra(heads=4)",
        ):
            torch.manual_seed(0)
            head = MapClassifier(8, 5, pooling=spec)
            parallel = nn.parallel.DistributedDataParallel(head)
            features = random_maps(2, 8, 7, 6)
            parallel(features).scores.sum().backward()
            grads = [parameter.grad.clone() for parameter in head.parameters()]
            head.zero_grad()
            head(features).scores.sum().backward()
            for found, parameter in zip(grads, head.parameters(), strict=True):
                torch.testing.assert_close(found, parameter.grad)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("spec", ["csra(heads=2)", "cat", "attention(hidden=4)", "adaptive(size=2)"])
@pytest.mark.quick("spec", ["cat"])
def test_heads_of_another_shape_compile_and_export_whole(spec):
    head = MapClassifier(8, 5, pooling=spec, maps_per_class=2).eval()
    features = random_maps(2, 8, 7, 6)
    torch.compiler.reset()
    compiled = torch.compile(head, fullgraph=True, backend="eager")
    sizes = {0: Dim("batch")} if "adaptive" in spec else {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
    exported = torch.export.export(head, (features,), dynamic_shapes=(sizes,)).module()
    for images in (features, random_maps(3, 8, 7, 6)):
        torch.testing.assert_close(tuple(compiled(images)), tuple(head(images)))
        torch.testing.assert_close(tuple(exported(images)), tuple(head(images)))


def test_grids_run_where_torch_runs_theirs():
    maps = random_maps(2, 3, 7, 6)
    for pooling in (Adaptive(size=(2, 3)), Adaptive(size=2, mode="max"), Cat()):
        torch.compiler.reset()
        compiled = torch.compile(pooling, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(maps), pooling(maps))
        torch.testing.assert_close(torch.export.export(pooling, (maps,)).module()(maps), pooling(maps))
        torch.testing.assert_close(torch.func.vmap(pooling)(maps), pooling(maps))
