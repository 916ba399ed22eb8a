"""Configuration to parts: plant, controller, link, rig, device."""

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yannctl import models
from yannctl.controllers import AbstractController, ExplicitMpc
from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.pwa import PwaLaw

from .authentication import read_key, read_private
from .can_link import CanLink
from .can_messages import CanCodec
from .channel import Channel
from .clock import AcceleratedClock
from .configuration import (
    CanLinkSection,
    Configuration,
    OpcuaLinkSection,
    Ros2LinkSection,
    SerialLinkSection,
    SimulatedLink,
    UdpLinkSection,
    ZmqLinkSection,
    split_address,
)
from .device import DeviceGuard, device_limits
from .linked import Features, LinkedRig
from .links import AbstractLink, SerialLink, UdpLink, ZmqLink
from .messages import MessageCodec
from .opcua import OpcuaAccess, OpcuaRig
from .opcua_plc import SoftPlc
from .plant_device import OnTick, PlantDevice
from .rig import AbstractRig
from .ros2 import Ros2Access, Ros2Rig
from .ros2_robot import SoftRobot
from .simulated import SimulatedRig


def make_plant(name: str, parameters: Mapping[str, float] | None = None) -> AbstractPlant:
    """Make a plant by name.

    Args:
        name: a class of `yannctl.models` (any case), or "module:Class" of the user's own.
        parameters: those that are not nominal.

    Returns:
        The plant.

    Raises:
        ModelError: there is none of that name.
    """
    module, _, own = name.partition(":")
    if own:
        try:
            found = getattr(importlib.import_module(module), own)
        except (ImportError, AttributeError) as error:
            raise ModelError("plant.name", f"cannot import {name!r}: {error}") from error
    else:
        known = {key.lower(): getattr(models, key) for key in models.__all__}
        if name.lower() not in known:
            raise ModelError(
                "plant.name", f"no plant is called {name!r}", remedy=f"choose from {', '.join(models.__all__)}"
            )
        found = known[name.lower()]
    if not (inspect.isclass(found) and issubclass(found, AbstractPlant)):
        raise ModelError("plant.name", f"{name!r} is not a plant", remedy="name a class of AbstractPlant")
    try:
        return found(**(parameters or {}))
    except TypeError as error:
        raise ModelError("plant.parameters", str(error)) from error


def law_number(path: str | Path) -> int:
    """Give the number the device knows a controller by: the first 32 bits of its file's SHA-256.

    Args:
        path: law or controller file.

    Returns:
        The number.
    """
    return int.from_bytes(hashlib.sha256(Path(path).read_bytes()).digest()[:4], "big")


def make_law(configuration: Configuration) -> tuple[AbstractController, AbstractController]:
    """Load the controller and its fallback.

    Args:
        configuration: the file.

    Returns:
        Both, as controllers.

    Raises:
        ModelError: a law made for another plant.
    """
    section, plant = configuration.controller, make_plant(configuration.plant.name, configuration.plant.parameters)
    law = _ready(section.file, plant)
    return law, law if section.fallback is None else _ready(section.fallback, plant)


def _ready(path: Path, plant: AbstractPlant) -> AbstractController:
    """The law, refused if it was made for another plant, and compiled before time counts."""
    law = PwaLaw.load(path)
    if law.theta_names != tuple(plant.x_names) or law.n_out != plant.nu:
        made = f"{path} was made for ({', '.join(law.theta_names or ())}) with {law.n_out} output(s)"
        wanted = f"{type(plant).__name__} has ({', '.join(plant.x_names)}) and {plant.nu} input(s)"
        remedy = f'solve a problem file with plant = "{type(plant).__name__}", such as examples/pendulum.toml'
        raise ModelError("controller.file", f"{made}, but {wanted}", remedy=remedy)
    controller = ExplicitMpc(law)
    controller((law.theta_min + law.theta_max) / 2)
    return controller


def make_rig(configuration: Configuration) -> AbstractRig:
    """Make the host's end.

    Args:
        configuration: the file.

    Returns:
        The rig, not yet open.

    Raises:
        ModelError: parts that do not fit.
    """
    section, link = configuration.plant, configuration.link
    plant = make_plant(section.name, section.parameters)
    if isinstance(link, SimulatedLink):
        x0 = _start(configuration, plant)
        fast = link.clock == "realtime" and link.speed != 1.0
        clock = AcceleratedClock(link.speed) if fast else link.clock
        return SimulatedRig(plant, x0, link.seed, clock=clock, safe_action=section.safe_action)
    features, controller = Features.of(plant, section.safe_action, section.dt), configuration.controller
    number, hold = law_number(controller.file), controller.hold_periods
    if isinstance(link, Ros2LinkSection):
        return Ros2Rig(Ros2Access(link.domain, link.interface, link.prefix), features, hold)
    if isinstance(link, OpcuaLinkSection):
        return OpcuaRig(opcua_access(link, host=True), features, number, hold)
    return LinkedRig(make_channel(configuration, plant, "host"), features, number, hold)


def make_device(configuration: Configuration, on_tick: OnTick | None = None) -> PlantDevice | SoftPlc | SoftRobot:
    """Make the simulated device's end.

    Args:
        configuration: the file.
        on_tick: called after every period.

    Returns:
        The device, not yet running.

    Raises:
        ModelError: a link that has no device end.
    """
    section, controller = configuration.plant, configuration.controller
    plant = make_plant(section.name, section.parameters)
    if isinstance(configuration.link, SimulatedLink):
        raise ModelError("link.kind", "is 'simulated', which has no other end", remedy="choose serial, can, udp or zmq")
    dt = plant.dt if section.dt is None else section.dt
    bounds = (np.array(plant.u_min, float), np.array(plant.u_max, float), section.safe_action)
    limits = device_limits(*bounds, law_number(controller.file), controller.hold_periods, dt)
    x0, guard = _start(configuration, plant), DeviceGuard(limits)
    if isinstance(configuration.link, Ros2LinkSection):
        link = configuration.link
        access = Ros2Access(link.domain, link.interface, link.prefix)
        return SoftRobot(plant, x0, access, controller.hold_periods * dt, section.safe_action, dt, on_tick)
    if isinstance(configuration.link, OpcuaLinkSection):
        return SoftPlc(plant, x0, opcua_access(configuration.link, host=False), guard, dt, on_tick)
    return PlantDevice(plant, x0, make_channel(configuration, plant, "device"), guard, dt, on_tick)


def opcua_access(section: OpcuaLinkSection, host: bool) -> OpcuaAccess:
    """Pick the certificates of one end.

    Args:
        section: the [link] table.
        host: the host's end, or the PLC's.

    Returns:
        Endpoint and certificates.

    Raises:
        ModelError: the key of this end is not named.
    """
    key = section.host_key if host else section.plc_key
    if key is None:
        raise ModelError(
            "link.host_key" if host else "link.plc_key", "is missing", remedy="name this end's private key"
        )
    ends = [(section.host_certificate, section.host_application), (section.plc_certificate, section.plc_application)]
    own, peer = ends if host else ends[::-1]
    return OpcuaAccess(section.endpoint, own[0], key, peer[0], own[1])


def make_channel(configuration: Configuration, plant: AbstractPlant, role: str) -> Channel:
    """Make one end of the link.

    Args:
        configuration: the file.
        plant: the plant, for its sizes.
        role: "host" or "device".

    Returns:
        The channel, not yet open.

    Raises:
        ModelError: an end the file does not describe.
    """
    host, section = role == "host", configuration.link
    if isinstance(section, CanLinkSection):
        codec = can_codec(section, plant)
        return Channel(_can_link(section, codec, host), codec, "host" if host else "device")
    codec = MessageCodec(plant.nx, plant.nu)
    link, key = _make_link(section, host, codec.max_size)
    return Channel(link, codec, "host" if host else "device", key, configuration.device_name)


def can_codec(section: CanLinkSection, plant: AbstractPlant) -> CanCodec:
    """Lay out the messages of a plant on a CAN bus.

    Args:
        section: the [link] table.
        plant: the plant, for its names and units.

    Returns:
        The layout.
    """
    names = (tuple(plant.x_names), tuple(plant.u_names), tuple(plant.x_units), tuple(plant.u_units))
    return CanCodec(*names, section.dbc)


def _can_link(section: CanLinkSection, codec: CanCodec, host: bool) -> CanLink:
    interface = section.interface if host else section.device_interface or section.interface
    channel = section.channel if host else section.device_channel or section.channel
    return CanLink(interface, channel, codec, section.bitrate, section.options, local=not section.listen)


def _make_link(section: object, host: bool, max_size: int) -> tuple[AbstractLink, bytes | None]:
    match section:
        case SerialLinkSection():
            port = section.port if host else section.device_port
            if port is None:
                raise ModelError("link.device_port", "is missing", remedy="name the simulated device's end of the line")
            return SerialLink(port, section.baud, max_size), None
        case UdpLinkSection():
            ends = split_address(section.host), split_address(section.device)
            link = UdpLink(ends[0], ends[1]) if host else UdpLink(ends[1], None)
            return link, read_key(section.key_file)
        case ZmqLinkSection():
            secret = section.host_secret_file if host else section.device_secret_file
            if secret is None:
                raise ModelError("link", f"has no secret key of the {'host' if host else 'device'}")
            peer = section.device_public if host else section.host_public
            return ZmqLink(section.endpoint, _secret_text(secret), peer, listen=not host), None
        case _:
            raise ModelError("link.kind", "has no device link")


def _secret_text(path: Path) -> str:
    """A CURVE secret key from a private file."""
    return read_private(path).decode("ascii", "replace").strip()


def _start(configuration: Configuration, plant: AbstractPlant) -> np.ndarray:
    x0 = configuration.plant.x0
    if x0 is None:
        x0 = plant.x_equilibrium
    if x0 is None or len(x0) != plant.nx:
        raise ModelError("plant.x0", f"is {x0}", remedy=f"give {plant.nx} numbers")
    return np.array(x0, float)
