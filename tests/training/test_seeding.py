"""Seeds of every step: those of torch, on the CPU and on a GPU."""

import pytest
import torch

from wsl.training.seeding import seed_device

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_numbers_are_those_of_torch_s_own_seed(device):
    drawn = []
    for seed in (torch.manual_seed, lambda number: seed_device(number, torch.device(device))):
        with torch.random.fork_rng():
            seed(2**63 + 5)
            drawn.append((torch.rand(4), torch.rand(4, device=device)))
    torch.testing.assert_close(*drawn, rtol=0, atol=0)
