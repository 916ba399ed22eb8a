"""A soft PLC in another process, behind signed and encrypted OPC UA with the reactor inside."""

import asyncio
import contextlib
import json
import signal
import subprocess

import asyncua
import numpy as np
import pytest
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

import yannctl
from yannctl.hil import RigError
from yannctl.hil.assembly import make_rig
from yannctl.hil.chaos_links import free_port
from yannctl.hil.configuration import read_configuration
from yannctl.hil.messages import DeviceState
from yannctl.hil.opcua import write_certificate
from yannctl.hil.supervisor import take_over
from yannctl.models import CSTR

HOLD, SAFE = 100, int(DeviceState.SAFE)  # ten seconds: a busy machine must not fail a test


@pytest.fixture(scope="module")
def plc(tmp_path_factory, running_device):
    """(configuration file, PLC log) with the PLC running."""
    folder = tmp_path_factory.mktemp("plc")
    plant = CSTR()
    bounds = {"u_min": plant.u_min, "u_max": plant.u_max}
    ocp = yannctl.Ocp(yannctl.linearise(plant), Q=np.diag([40, 0.004]), R=[[0.001]], N=3, **bounds)
    mpqp = yannctl.condense(ocp, theta_min=[0.0, 300.0], theta_max=[1.0, 400.0])
    yannctl.solve_mpqp(mpqp).save(folder / "law.safetensors")
    for end in ("host", "plc"):
        write_certificate(folder, end, f"urn:yannctl:{end}")
    x0 = [float(value) for value in plant.x_equilibrium]
    (folder / "plc.toml").write_text(
        f'[plant]\nname = "CSTR"\nsafe_action = [{plant.u_min[0]}]\nx0 = {x0}\ndt = 0.1\n'
        f'[controller]\nfile = "law.safetensors"\nhold_periods = {HOLD}\n'
        "[loop]\nseconds = 2\nmax_age = 1000\n[supervisor]\nenabled = false\n"
        f'[link]\nkind = "opcua"\nendpoint = "opc.tcp://127.0.0.1:{free_port()}/yannctl"\n'
        'host_certificate = "host.der"\nhost_key = "host.pem"\nplc_certificate = "plc.der"\nplc_key = "plc.pem"\n'
    )
    config, log = folder / "plc.toml", folder / "plc.csv"
    with running_device(config, log):
        yield config, log


def test_the_law_runs_the_reactor_through_the_plc(plc, rows, host_command):
    config, log = plc
    done = subprocess.run(host_command(config), check=False, capture_output=True, text=True, timeout=120)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["reason"], summary["stop_errors"]) == ("ticks done", []), done.stderr
    table = rows(log)
    assert table[-1, 2] > 5
    assert table[-1, 1] == SAFE
    assert np.all((table[:, -1] >= CSTR().u_min[0]) & (table[:, -1] <= CSTR().u_max[0]))


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_host_that_is_killed_or_stopped_leaves_the_safe_action(plc, unsafe_ticks, how):
    assert unsafe_ticks(*plc, how, 5, [CSTR().u_min[0]], hold=10, period=0.1) == 0


def test_another_process_takes_over(plc, rows, wait_for):
    config, log = plc
    rig = make_rig(read_configuration(config))
    rig.open()
    rig.arm()
    rig.read(rig.clock.now_ns() + 10**9)
    rig.write(rig.u_max * 0.5 + rig.u_min * 0.5, 0)
    wait_for(lambda: rows(log)[-1, 1] == DeviceState.ARMED)
    assert take_over(make_rig(read_configuration(config)))  # while the first one only holds its breath
    wait_for(lambda: rows(log)[-1, 1] == SAFE)
    rig.close()


def test_another_controller_and_a_late_start_are_refused(plc):
    rig = make_rig(read_configuration(plc[0]))
    rig.law_id ^= 1
    rig.open()
    with contextlib.closing(rig), pytest.raises(RigError, match="did not arm"):
        rig.arm()


async def connects(client):
    try:
        await asyncio.wait_for(client.connect(), 5)
    except Exception:  # every refusal of the protocol is one
        return False
    await client.disconnect()
    return True


@pytest.mark.parametrize("who", ["nobody", "stranger", "unsigned"])
def test_only_the_known_certificate_gets_in(plc, tmp_path, who):
    folder = plc[0].parent
    endpoint = read_configuration(plc[0]).link.endpoint

    async def attempt():
        client = asyncua.Client(endpoint, timeout=2)
        client.application_uri = "urn:yannctl:host"
        if who != "unsigned":
            write_certificate(tmp_path, "other", "urn:yannctl:host")
            name = tmp_path / "other" if who == "stranger" else folder / "host"
            peer = (folder / "plc.der").read_bytes()
            pair = str(name.with_suffix(".der")), str(name.with_suffix(".pem"))
            await client.set_security(SecurityPolicyBasic256Sha256, *pair, server_certificate=peer)
            if who == "stranger":
                await client.load_client_certificate(pair[0])
                await client.load_private_key(pair[1])
        return await connects(client)

    assert not asyncio.run(attempt())


def test_another_plc_is_not_believed(plc, tmp_path):
    write_certificate(tmp_path, "plc", "urn:yannctl:plc")
    config = plc[0].read_text().replace('plc_certificate = "plc.der"', f'plc_certificate = "{tmp_path / "plc.der"}"')
    path = plc[0].parent / "wrong.toml"
    path.write_text(config)
    with pytest.raises(RigError, match="cannot connect"):
        make_rig(read_configuration(path)).open()
