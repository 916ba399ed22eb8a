"""What a run of the bridge is: a TOML file, checked whole before anything is connected.

Both ends read the same file: the host (`yannctl hil run`) takes all of it, the simulated device
(`yannctl hil device`) the plant, the link and the limits.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from yannctl.errors import ModelError
from yannctl.refusals import wrong_entry

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Section(BaseModel):
    """A table of the file; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PlantSection(Section):
    """[plant]: which plant, from where it starts in simulation, and its safe action.

    Args:
        name: a plant of `yannctl.models`, or "module:Class" of your own.
        safe_action: input that keeps it safe.
        x0: first state of the simulated device.
        dt: sample period [s]; default the plant's.
        parameters: of the plant by name, where they are not the nominal ones.
    """

    name: str
    parameters: dict[str, float] = {}
    safe_action: list[float]
    x0: list[float] | None = None
    dt: Annotated[float, Field(gt=0)] | None = None


class ControllerSection(Section):
    """[controller]: the controller and what takes over where it fails.

    Args:
        file: law or controller file.
        fallback: law for the ticks it fails; default the law inside `file`.
        hold_periods: periods the device may hold a command: N_cert of the certificate.
    """

    file: Path
    fallback: Path | None = None
    hold_periods: Annotated[int, Field(ge=1, le=100)] = 2


class SimulatedLink(Section):
    """[link] kind = "simulated": plant and loop in one process.

    Args:
        clock: "lockstep" (as fast as it goes, every run the same) or "realtime".
        speed: of real time: 10 runs plant and loop ten times as fast as the computer's clock.
        seed: of the plant's noise.
    """

    kind: Literal["simulated"]
    clock: Literal["lockstep", "realtime"] = "lockstep"
    speed: Annotated[float, Field(gt=0, le=1000)] = 1.0
    seed: int = 0


class SerialLinkSection(Section):
    """[link] kind = "serial": COBS frames on a wire.

    Args:
        port: device file of the host's end.
        device_port: of the simulated device's end.
        baud: speed [bit/s].
    """

    kind: Literal["serial"]
    port: str
    device_port: str | None = None
    baud: int = 115_200


class UdpLinkSection(Section):
    """[link] kind = "udp": datagrams with HMAC.

    Args:
        host: address:port of the host's end.
        device: address:port of the device's end.
        key_file: 64 hexadecimal digits, mode 0600, the same on both ends.
        listen: allow addresses other than loopback.
    """

    kind: Literal["udp"]
    host: str
    device: str
    key_file: Path
    listen: bool = False


class ZmqLinkSection(Section):
    """[link] kind = "zmq": TCP with CURVE.

    Args:
        endpoint: e.g. "tcp://127.0.0.1:5555"; the device binds it.
        host_public: public key of the host.
        host_secret_file: its secret key, mode 0600; needed on the host only.
        device_public: public key of the device.
        device_secret_file: its secret key, mode 0600; needed on the device only.
        listen: allow addresses other than loopback.
    """

    kind: Literal["zmq"]
    endpoint: str
    host_public: str
    device_public: str
    host_secret_file: Path | None = None
    device_secret_file: Path | None = None
    listen: bool = False


class CanLinkSection(Section):
    """[link] kind = "can": groups of frames on a bus, described by a DBC file.

    Args:
        interface: python-can's name of the adapter, e.g. "socketcan".
        channel: e.g. "can0".
        device_interface: of the simulated device's end; default as `interface`.
        device_channel: of the simulated device's end; default as `channel`.
        bitrate: speed where the adapter is told it [bit/s].
        options: further settings of the adapter, by python-can's names.
        dbc: file with the bus's own identifiers; default 0x100 onwards, see `yannctl hil dbc`.
        listen: allow multicast beyond this machine.
    """

    kind: Literal["can"]
    interface: str = "socketcan"
    channel: str = "can0"
    device_interface: str | None = None
    device_channel: str | None = None
    bitrate: int | None = None
    options: dict[str, bool | int | float | str] = {}
    dbc: Path | None = None
    listen: bool = False


class OpcuaLinkSection(Section):
    """[link] kind = "opcua": a PLC; signed, encrypted, both certificates known.

    Args:
        endpoint: e.g. "opc.tcp://127.0.0.1:4840/yannctl".
        host_certificate: the host's certificate (DER).
        host_key: its private key (PEM, mode 0600); needed on the host only.
        plc_certificate: the PLC's certificate (DER).
        plc_key: its private key; needed by the simulated PLC only.
        host_application: URI in the host's certificate.
        plc_application: URI in the PLC's certificate.
        listen: allow addresses other than loopback.
    """

    kind: Literal["opcua"]
    endpoint: str
    host_certificate: Path
    plc_certificate: Path
    host_key: Path | None = None
    plc_key: Path | None = None
    host_application: str = "urn:yannctl:host"
    plc_application: str = "urn:yannctl:plc"
    listen: bool = False


class Ros2LinkSection(Section):
    """[link] kind = "ros2": a mobile base on rt/cmd_vel and rt/odom; no proof of origin.

    Args:
        domain: ROS_DOMAIN_ID of the robot.
        interface: network interface; "lo" for this machine.
        prefix: name space of the topics, e.g. "burger/".
        listen: allow interfaces other than loopback.
    """

    kind: Literal["ros2"]
    domain: Annotated[int, Field(ge=0, le=232)] = 0
    interface: str = "lo"
    prefix: str = ""
    listen: bool = False


LinkSection = Annotated[
    SimulatedLink
    | SerialLinkSection
    | UdpLinkSection
    | ZmqLinkSection
    | CanLinkSection
    | OpcuaLinkSection
    | Ros2LinkSection,
    Field(discriminator="kind"),
]


class LoopSection(Section):
    """[loop]: length and priority.

    Args:
        seconds: length of the run.
        priority: SCHED_FIFO priority, 0 for none.
        cores: processors to run on; none for all.
        lock_memory: keep all pages in memory.
        max_age: measurements in a row that may be missing before SAFE_HOLD.
        learner_nice: by how much a learner gives way to everything else (`hil train`), 0 to 19.
    """

    seconds: Annotated[float, Field(gt=0)] = 10.0
    priority: Annotated[int, Field(ge=0, le=98)] = 0
    cores: list[int] = []
    lock_memory: bool = False
    max_age: Annotated[int, Field(ge=0)] = 3
    learner_nice: Annotated[int, Field(ge=0, le=19)] = 10


class ProposalSection(Section):
    """[proposal]: a learned policy beside the exact law, in shadow or with a share of the input.

    Args:
        file: policy file, as `yannctl train` exports it; none where the policy is learned in the run.
        authority: its share of the input at the start, 0 (shadow) to 1.
        filter: proved safe set that has the last word, a name of `yannctl falsify`; none for no filter.
        exploration: standard deviation of the noise on it, as a share of half the input range.
        seed: of the noise.
    """

    file: Path | None = None
    authority: Annotated[float, Field(ge=0, le=1)] = 0.0
    filter: str | None = None
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0


class SupervisorSection(Section):
    """[supervisor]: the second process that stops the plant when the loop falls silent.

    Args:
        enabled: whether there is one; a link to a simulated plant in the same process has none.
        silence_periods: periods without a tick that count as silence, 0.1 s at least.
    """

    enabled: bool = True
    silence_periods: Annotated[int, Field(ge=2, le=1000)] = 5


class RecordSection(Section):
    """[record]: the log.

    Args:
        file: MCAP file; none for no log.
    """

    file: Path | None = None


class Configuration(Section):
    """A whole file."""

    plant: PlantSection
    controller: ControllerSection
    link: LinkSection
    loop: LoopSection = LoopSection()
    record: RecordSection = RecordSection()
    proposal: ProposalSection | None = None
    supervisor: SupervisorSection = SupervisorSection()
    device_name: str = "device"

    @field_validator("link")
    @classmethod
    def _loopback_unless_told(cls, link: Any) -> Any:
        if isinstance(link, UdpLinkSection):
            for address in (link.host, link.device):
                _check_exposure(split_address(address)[0], link.listen)
        if isinstance(link, ZmqLinkSection):
            _check_exposure(split_address(link.endpoint.removeprefix("tcp://"))[0], link.listen)
        if isinstance(link, OpcuaLinkSection):
            address = link.endpoint.removeprefix("opc.tcp://").split("/")[0]
            _check_exposure(split_address(address)[0], link.listen)
        if isinstance(link, Ros2LinkSection):
            _check_exposure("127.0.0.1" if link.interface == "lo" else link.interface, link.listen)
        return link


def _check_exposure(host: str, listen: bool) -> None:
    if host not in _LOOPBACK and not listen:
        raise ValueError(f"{host} is not loopback; set listen = true if the plant's network is your own")


def split_address(text: str) -> tuple[str, int]:
    """Split "host:port".

    Args:
        text: e.g. "127.0.0.1:5601" or "[::1]:5601".

    Returns:
        Host and port.

    Raises:
        ValueError: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not int(port) < 65536:
        raise ValueError(f"{text!r} is not an address like 127.0.0.1:5601")
    return host.strip("[]"), int(port)


def read_configuration(path: str | Path) -> Configuration:
    """Read and check a file.

    Args:
        path: TOML file; paths in it are relative to its folder.

    Returns:
        The configuration.

    Raises:
        ModelError: naming the first entry that is wrong.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        found = Configuration.model_validate(content)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(str(path), f"is not TOML: {error}") from error
    except ValidationError as error:
        place, what = wrong_entry(error, Configuration)
        raise ModelError(f"{path}: {place or 'file'}", what) from error
    return _rooted(found, path.parent)


def _rooted(section: Any, folder: Path) -> Any:
    """The same with every path relative to the file's folder."""
    changes: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path) and not value.is_absolute():
            changes[name] = folder / value
        elif isinstance(value, Section):
            changes[name] = _rooted(value, folder)
    return section.model_copy(update=changes)
