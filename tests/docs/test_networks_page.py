"""The page about the networks is what its program writes."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
import networks

FOLDER = Path(__file__).parents[2] / "docs"


def test_page_is_what_its_program_writes():
    law = networks.clipped_pendulum()
    assert (law.n_regions, len(law.k)) == (7, 32)
    assert networks.page(law) == (FOLDER / "networks.md").read_text(encoding="utf-8"), "run python docs/networks.py"


def test_figure_can_be_drawn(tmp_path):
    networks.picture(networks.clipped_pendulum(), tmp_path / "network.png")
    assert (tmp_path / "network.png").stat().st_size > 10_000
    assert (FOLDER / "pictures" / "network.png").is_file()


def test_order_does_not_change_the_law():
    law = networks.clipped_pendulum()
    theta = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (200, 2))
    turned = networks.in_order(law)
    np.testing.assert_array_equal(turned.row_start, law.row_start)
    np.testing.assert_array_equal(turned(theta), law(theta))
