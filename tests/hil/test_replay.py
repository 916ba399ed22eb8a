"""A recorded run gives the same bits again; another law only in shadow."""

import json
from pathlib import Path

import numpy as np
import pytest

import yannctl
from yannctl.cli.app import main
from yannctl.hil.assembly import make_plant
from yannctl.hil.configuration import read_configuration
from yannctl.models import Pendulum


def config(tmp_path, law_file, seconds=2.0):
    path = tmp_path / "run.toml"
    path.write_text(
        f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\nx0 = [0.1, 0.0]\n[controller]\nfile = "{law_file}"\n'
        f'[link]\nkind = "simulated"\n[loop]\nseconds = {seconds}\n[record]\nfile = "run.mcap"\n'
    )
    return path


def command(capsys, *words):
    with pytest.raises(SystemExit) as ending:
        main([*map(str, words), "--json"])
    out = capsys.readouterr().out.splitlines()
    return ending.value.code, json.loads(out[-1]) if out else None


def test_record_replay_shadow_and_export(tmp_path, law_file, capsys):
    assert command(capsys, "hil", "run", config(tmp_path, law_file))[0] == 0
    log = tmp_path / "run.mcap"
    code, found = command(capsys, "hil", "replay", log, "--law", law_file)
    assert code == 0
    assert found == {"own": True, "compared": 40, "different": 0, "max_difference": 0.0, "whole": True}

    plant = Pendulum()
    bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
    ocp = yannctl.Ocp(yannctl.linearise(plant), Q=np.diag([9, 0.1]), R=[[1.0]], N=3, soft="l1l2", **bounds)
    other = tmp_path / "other.safetensors"
    yannctl.solve_mpqp(yannctl.condense(ocp)).save(other)
    code, found = command(capsys, "hil", "replay", log, "--law", other)
    assert code == 0
    assert not found["own"]
    assert found["different"] > 0
    assert found["max_difference"] > 0.01

    assert command(capsys, "hil", "log", "export", log, "--out", tmp_path / "run.parquet")[1]["rows"] == 40
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(log.read_bytes()[:-2000])
    assert 0 < command(capsys, "hil", "log", "recover", cut, "--out", tmp_path / "whole.mcap")[1]["rows"] <= 40


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (('name = "Pendulum"', 'name = "Pendulun"'), "no plant is called"),
        (("seconds = 2.0", "seconds = -1"), "loop.seconds"),
        (('kind = "simulated"', 'kind = "telepathy"'), "link"),
        (("x0 = [0.1, 0.0]", "x0 = [0.5]"), "plant.x0"),
        (("[loop]", "[lop]"), "unknown entry; did you mean loop"),
        (("seconds = 2.0", "second = 2.0"), "loop.second: unknown entry; did you mean seconds"),
        (("seconds = 2.0", "qqq = 2.0"), "leave it away"),
        (("[loop]", "[loop"), "not TOML"),
        (("safe_action = [0.0]", "safe_action = [5.0]"), "safe_action"),
    ],
)
def test_a_wrong_entry_is_one_line(tmp_path, law_file, capsys, change, text):
    path = config(tmp_path, law_file)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(SystemExit) as ending:
        main(["hil", "run", str(path)])
    error = capsys.readouterr().err
    assert ending.value.code == 2
    assert error.count("\n") == 1
    assert text in error


def test_an_address_beyond_loopback_must_be_asked_for(tmp_path, law_file, capsys):
    path = config(tmp_path, law_file)
    link = '[link]\nkind = "udp"\nhost = "0.0.0.0:5601"\ndevice = "127.0.0.1:5602"\nkey_file = "key"\n'
    path.write_text(path.read_text().replace('[link]\nkind = "simulated"\n', link))
    with pytest.raises(SystemExit) as ending:
        main(["hil", "run", str(path)])
    assert ending.value.code == 2
    assert "listen = true" in capsys.readouterr().err


EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "bridge").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_configuration_is_valid(path):
    configuration = read_configuration(path)
    assert configuration.link.kind == ("simulated" if path.stem == "learning" else path.stem)
    make_plant(configuration.plant.name, configuration.plant.parameters)


def test_a_law_for_another_plant_is_refused(tmp_path, law_file, capsys):
    path = config(tmp_path, law_file)
    path.write_text(
        path.read_text().replace('name = "Pendulum"', 'name = "CSTR"').replace("x0 = [0.1, 0.0]", "x0 = [0.5, 350]")
    )
    with pytest.raises(SystemExit) as ending:
        main(["hil", "run", str(path)])
    assert ending.value.code == 2
    assert "was made for (theta, theta_dot)" in capsys.readouterr().err
