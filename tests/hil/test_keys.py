"""Keys are made once, for whom the configuration names, and fit the link they are made for."""

import stat

import pytest
import zmq

from yannctl.errors import ModelError
from yannctl.hil.assembly import opcua_access
from yannctl.hil.authentication import read_key
from yannctl.hil.configuration import read_configuration
from yannctl.hil.keys import make_keys

HEAD = '[plant]\nname = "Pendulum"\nsafe_action = [0.0]\n[controller]\nfile = "law.safetensors"\n[link]\n'
ZEROS = "0" * 40
LINKS = {
    "udp": 'kind = "udp"\nhost = "127.0.0.1:5601"\ndevice = "127.0.0.1:5602"\nkey_file = "keys/key"\n',
    "zmq": f'kind = "zmq"\nendpoint = "tcp://127.0.0.1:5555"\nhost_public = "{ZEROS}"\ndevice_public = "{ZEROS}"\n'
    'host_secret_file = "host_secret"\ndevice_secret_file = "device_secret"\n',
    "opcua": 'kind = "opcua"\nendpoint = "opc.tcp://127.0.0.1:4840/x"\nhost_certificate = "keys/host.der"\n'
    'host_key = "keys/host.pem"\nplc_certificate = "keys/plc.der"\nplc_key = "keys/plc.pem"\n',
}


def configuration(folder, text):
    path = folder / "rig.toml"
    path.write_text(HEAD + text)
    return read_configuration(path)


@pytest.mark.parametrize("link", LINKS)
def test_keys_are_private_and_never_overwritten(tmp_path, link):
    named = configuration(tmp_path, LINKS[link])
    made = make_keys(named)
    secrets = [file for file in made.files if file.suffix != ".der"]
    assert secrets
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in secrets)
    kept = [file.read_bytes() for file in made.files]
    with pytest.raises(ModelError, match="never overwritten"):
        make_keys(named)
    assert [file.read_bytes() for file in made.files] == kept


def test_the_key_of_a_shared_medium_can_be_read(tmp_path):
    named = configuration(tmp_path, LINKS["udp"])
    make_keys(named)
    assert len(read_key(named.link.key_file)) == 32


def test_public_lines_belong_to_the_secrets(tmp_path):
    made = make_keys(configuration(tmp_path, LINKS["zmq"]))
    for line, end in zip(made.lines, ("host", "device"), strict=True):
        public = zmq.curve_public((tmp_path / f"{end}_secret").read_bytes()).decode()
        assert line == f'{end}_public = "{public}"'


def test_certificates_serve_both_ends(tmp_path):
    named = configuration(tmp_path, LINKS["opcua"])
    make_keys(named)
    host, plc = opcua_access(named.link, host=True), opcua_access(named.link, host=False)
    assert (host.certificate, host.peer_certificate) == (plc.peer_certificate, plc.certificate)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('kind = "simulated"\n', "which has no keys"),
        (LINKS["opcua"].replace("keys/host.pem", "keys/other.pem"), "host_key"),
        (LINKS["zmq"].split("host_secret_file")[0], "names no private key"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, text, why):
    with pytest.raises(ModelError, match=why):
        make_keys(configuration(tmp_path, text))
