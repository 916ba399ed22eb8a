"""Compiled steps do what the plain ones do, up to the rounding of differently ordered sums."""

import pytest
import torch

from yannctl.rl.run import Run
from yannctl.rl.task import another


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore:.*Function'> should not be instantiated:DeprecationWarning"
)  # by torch's own tracer
@pytest.mark.filterwarnings("ignore:Dynamo does not know:UserWarning")  # what checks the types of arrays in tests
@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
def test_compiled_learner_is_the_plain_one(env, law, small, algorithm):
    plain = Run(law, None, another(env), algorithm, 3, small)
    compiled = Run(law, None, another(env), algorithm, 3, small.changed({"compile": True}))
    for _ in range(40):
        plain.step()
        compiled.step()
    assert plain.learner.updates == compiled.learner.updates == 42
    for name, tensor in compiled.learner.tensors().items():
        assert torch.allclose(tensor, plain.learner.tensors()[name], rtol=1e-3, atol=2e-4), name
