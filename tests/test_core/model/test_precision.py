"""Half precision where the device is fast at it: float32 logits, nearly the same, and data honoured all the same."""

import pytest
import torch

from oadg.core.machine.device import fast_precision
from oadg.core.model import precision
from oadg.core.model.hard_data import HardData
from oadg.core.model.precision import Rounded, drawing_predictor, precision_of
from oadg.core.model.schedule import SCHEDULES
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "cpu_name": "Intel(R) Xeon(R) Processor"}, torch.bfloat16),
        ({"avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R) Processor"}, torch.float32),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.float32),
        ({"avx2": True, "cpu_name": "AMD EPYC"}, torch.float32),
    ],
)
def test_a_processor_with_units_for_it_computes_in_half_precision(monkeypatch, deep_network, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fast_precision(CPU) == expected
    assert precision_of(deep_network, CPU) == str(expected).split(".")[1]
    assert isinstance(drawing_predictor(deep_network, CPU), Rounded) == (expected == torch.bfloat16)


def test_a_torch_that_does_not_know_processors_computes_in_full_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert fast_precision(CPU) == torch.float32


def test_networks_of_others_are_asked_as_they_are(monkeypatch):
    monkeypatch.setattr(precision, "fast_precision", lambda device: torch.bfloat16)
    other = torch.nn.Identity()
    assert drawing_predictor(other, CPU) is other
    assert precision_of(other, CPU) == "float32"


def test_rounded_logits_are_float32_and_nearly_the_same(deep_network):
    generator = torch.Generator().manual_seed(2)
    known = torch.randint(-3, 3, (2, 16, 16), generator=generator).clamp_min(-1)
    inside = torch.ones(2, 16, 16, dtype=torch.bool)
    nothing = torch.zeros(0, dtype=torch.int64)
    data = [nothing] * 4 + [nothing.float()] * 2
    asked = (known, inside, HardData(*data), 3)
    rounded, exact = Rounded(deep_network, torch.bfloat16)(*asked), deep_network(*asked)
    assert exact.dtype == torch.float32  # the network stays as it was
    assert rounded.dtype == torch.float32
    assert 0 < (exact.softmax(dim=1) - rounded.softmax(dim=1)).abs().max() < 0.05


def test_data_are_honoured_and_a_seed_gives_the_same_realizations(deep_network):
    shape = (20, 24)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[::6, ::5] = 1
    told = Start(known, inside, 2, 1), [draw_stream(4, index, shape) for index in range(2)], SCHEDULES["preview"]
    two, again = (sample(Rounded(deep_network, torch.bfloat16), *told) for _ in range(2))
    assert torch.equal(two, again)
    assert (two[:, known >= 0] == 1).all()
    assert ((two == 0) | (two == 1)).all()
