"""Policies in controller files and as ONNX graphs: the same bits back, and the same values elsewhere."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from yannctl import condense, solve_mpqp
from yannctl.errors import FileFormatError, ModelError
from yannctl.export import load_controller, load_policy, save_controller, save_policy, write_onnx
from yannctl.linear import LinearModel
from yannctl.ocp import Ocp
from yannctl.yann import Bounds, encode_actor, extend

BOUNDS = Bounds([-5.0, -3.0], [5.0, 3.0], [-1.0, -0.5], [1.0, 0.7])
ANGLE = Bounds([-np.pi, -3.1], [np.pi, 3.3], [-1.0, -0.5], [1.0, 0.7], angles=(0,))
FORMS = ["gather", "five_layer", "lattice"]


@pytest.fixture(scope="module")
def law():
    lin = LinearModel(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.6, 0.1], [0.0, 1.0]]))
    bounds = {"x_min": [-5.0, -3.0], "x_max": [5.0, 3.0], "u_min": [-1.0, -0.5], "u_max": [1.0, 0.7]}
    return solve_mpqp(condense(Ocp(lin, Q=np.eye(2), R=0.1 * np.eye(2), N=2, **bounds)))


@pytest.fixture
def states(law):
    return torch.as_tensor(np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (500, 2)))


def tuned(law, form="gather", bounds=ANGLE, dtype=torch.float64, **options):
    """An extended actor whose learned part does something."""
    policy = extend(encode_actor(law, form, dtype), bounds, **({"hidden": (16, 8), "authority": 0.3} | options))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.learned_parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return policy


POLICIES = {
    **{form: lambda law, form=form: encode_actor(law, form) for form in FORMS},
    "single": lambda law: encode_actor(law, "five_layer", torch.float32),
    "tuned": tuned,
    "tuned lattice": lambda law: tuned(law, "lattice", BOUNDS, layer_norm=True, saturation="one_sided"),
    "tuned single": lambda law: tuned(law, "gather", ANGLE, torch.float32),
    "per region": lambda law: tuned(law, kind="per_region", hidden=(6,)),
    "mixed": lambda law: extend(encode_actor(law), ANGLE, (4,), dtype=torch.float32),
}


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_bits_come_back(law, states, tmp_path, name):
    policy = POLICIES[name](law)
    save_policy(tmp_path / "policy", policy, metadata={"note": "bench 3"})
    again = load_policy(tmp_path / "policy")
    assert torch.equal(again(states), policy(states))
    assert type(again) is type(policy)
    assert set(again.state_dict()) == set(policy.state_dict())
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert load_controller(tmp_path / "policy").metadata["note"] == "bench 3"


def test_a_lattice_is_not_searched_again(law, states, tmp_path, monkeypatch):
    policy = encode_actor(law, "lattice")
    save_policy(tmp_path / "policy", policy)
    monkeypatch.setattr("yannctl.yann.lattice.lattice_terms", None)
    assert torch.equal(load_policy(tmp_path / "policy")(states), policy(states))


def test_a_law_alone_holds_no_policy(law, tmp_path):
    save_controller(tmp_path / "law", law)
    with pytest.raises(FileFormatError, match="holds a law but no policy"):
        load_policy(tmp_path / "law")


def test_what_does_not_fit_is_refused(law, tmp_path):
    policy = tuned(law)
    tensors = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    save_policy(tmp_path / "good", policy)
    description = dict(load_controller(tmp_path / "good").metadata["policy"])
    cases = {
        "missing": (description, {name: value for name, value in tensors.items() if name != "learned.0.weight"}),
        "shape": (description, tensors | {"learned.0.weight": np.zeros((2, 2))}),
        "form": (description | {"dtype": "object"}, tensors),
        "field": ({"dtype": "float64", "extension": {}}, tensors),
    }
    for name, (text, arrays) in cases.items():
        save_controller(tmp_path / name, law, form="gather", extension=arrays, metadata={"policy": text})
        with pytest.raises(FileFormatError, match="does not fit together"):
            load_policy(tmp_path / name)
    lattice = encode_actor(law, "lattice")
    arrays = {name: tensor.numpy().copy() for name, tensor in lattice.state_dict().items()}
    arrays["law.0.terms"][0, 0] = 10_000
    text = {"dtype": "float64", "certified": True, "merging": 0.0}
    save_controller(tmp_path / "terms", law, form="lattice", extension=arrays, metadata={"policy": text})
    with pytest.raises(FileFormatError, match="laws that are not there"):
        load_policy(tmp_path / "terms")


def test_five_layers_whose_bias_holds_m_are_refused(law, tmp_path):
    policy = encode_actor(law, "five_layer")
    arrays = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    arrays["law.suppressed.bias"] = arrays["law.suppressed.bias"] - policy.M
    save_controller(
        tmp_path / "old", law, form="five_layer", extension=arrays, metadata={"policy": {"dtype": "float64"}}
    )
    with pytest.raises(FileFormatError, match="compile the law again"):
        load_policy(tmp_path / "old")


def test_other_modules_are_refused(tmp_path):
    with pytest.raises(ModelError, match="policy: got Linear, which is no exact actor"):
        save_policy(tmp_path / "policy", nn.Linear(2, 1))


def test_the_law_of_a_tuned_policy_loads_without_torch(law, tmp_path):
    save_policy(tmp_path / "policy", tuned(law))
    x = np.random.default_rng(1).uniform(law.theta_min, law.theta_max, (50, 2))
    np.savez(tmp_path / "points.npz", x=x, u=law(x))
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from yannctl.export import load_controller\n"
        f"found = load_controller({str(tmp_path / 'policy')!r})\n"
        f"data = np.load({str(tmp_path / 'points.npz')!r})\n"
        "assert np.array_equal(found.law(data['x']), data['u'], equal_nan=True)\n"
        "assert found.form == 'gather' and 'learned.0.weight' in found.extension\n"
        "print('torch' in [name for name, module in sys.modules.items() if module is not None])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "name", [name if name == "tuned" else pytest.param(name, marks=pytest.mark.slow) for name in POLICIES]
)
def test_onnxruntime_gives_the_same_values(law, states, tmp_path, name):
    import onnxruntime

    policy = POLICIES[name](law)
    found = write_onnx(policy, tmp_path / "policy.onnx", n_points=2000)
    assert found.ok, found
    assert found.n_points == 2000
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"))
    assert session.get_modelmeta().custom_metadata_map["x_names"] == "x1, x2"
    with torch.no_grad():
        for batch in (1, 2, 500):
            wanted = policy(states[:batch]).numpy()
            got = session.run(None, {"x": states[:batch].numpy().astype(wanted.dtype)})[0]
            assert np.abs(got - wanted).max() <= 1e-6
    if name in {*FORMS, "single"}:
        assert found.max_error == 0.0
    if name == "tuned":
        assert found.max_error <= 1e-13


def test_other_values_are_not_kept(law, tmp_path, monkeypatch):
    import onnx

    class Wrong:
        def run(self, names, feed):
            return [np.zeros((len(feed["x"]), 2))]

    monkeypatch.setattr("yannctl.export.onnx_graph._graph", lambda policy, example: onnx.ModelProto())
    monkeypatch.setattr("yannctl.export.onnx_graph._session", lambda raw: Wrong())

    found = write_onnx(encode_actor(law), tmp_path / "policy.onnx")
    assert not found.ok
    assert not (tmp_path / "policy.onnx").exists()
