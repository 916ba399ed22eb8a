"""The log holds every bit of a run, loses nothing silently, and survives a cut at any byte."""

import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from mcap.reader import make_reader

from yannctl.errors import FileFormatError, ModelError
from yannctl.hil.flight_log import SCALARS, FlightLog, LogHeader, read_log, recover, to_parquet
from yannctl.hil.log_writer import LogFile
from yannctl.hil.ring import RowRing
from yannctl.hil.tick import LoopTick

HEADER = LogHeader(("theta", "speed"), ("torque",), ("rad", "rad/s"), ("N m",), 0.05, "ab" * 32)


def row(k, generator):
    scalars = [10**12 + k, k, k % 3, 3, k, 2 * k, 3 * k, 0xFFFF_FFFF - k]
    return np.concatenate([scalars, [k % 7 / 7], generator.standard_normal(5) * 10.0 ** (k % 9)])


def put(log, k, generator):
    values = row(k, generator)
    scalars = [int(v) for v in values[:8]]
    log.ticked(LoopTick(*scalars, True, values[8], values[9:11], values[11:12], values[12:13], values[13:]))
    return values


def test_every_bit_comes_back(tmp_path):
    path, generator = tmp_path / "run.mcap", np.random.default_rng(0)
    with FlightLog(path, HEADER, {"config.toml": b"hello"}) as log:
        written = np.array([put(log, k, generator) for k in range(500)])
    record = read_log(path)
    assert record.whole
    assert record.header == HEADER
    assert log.lost == 0
    np.testing.assert_array_equal(
        np.column_stack([record.x, record.u, record.u_applied, record.proposed]), written[:, 9:]
    )
    np.testing.assert_array_equal(record.authority, written[:, 8])
    np.testing.assert_array_equal(record.scalars["law_id"], written[:, 7])
    np.testing.assert_array_equal(record.scalars["compute_ns"], written[:, 6])
    assert set(record.scalars) == set(SCALARS)
    with open(path, "rb") as file:
        (attachment,) = make_reader(file).iter_attachments()
    assert (attachment.name, attachment.data) == ("config.toml", b"hello")


def test_numbers_that_are_not_finite_become_nan(tmp_path):
    with FlightLog(tmp_path / "run.mcap", HEADER) as log:
        x, nothing = np.array([np.nan, np.inf]), np.array([np.nan])
        scalars = [1, 0, 0, 3, 0, 0, 0, 0, True, 0.0]
        log.ticked(LoopTick(*scalars, x, np.array([1.0]), np.array([-np.inf]), nothing))
    record = read_log(tmp_path / "run.mcap")
    assert np.isnan(record.x).all()
    assert np.isnan(record.u_applied).all()
    assert record.u[0, 0] == 1.0


def test_an_existing_file_is_never_overwritten(tmp_path):
    path = tmp_path / "run.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(ModelError, match="never overwritten"):
        FlightLog(path, HEADER)
    assert path.read_bytes() == b"precious"


def cuts_that_hold(tmp_path, step):
    """Cut a log at every `step`-th byte and about every end of a chunk; the number of cuts read."""
    path, generator = tmp_path / "run.mcap", np.random.default_rng(1)
    log = LogFile(path, HEADER, {})
    for k in range(120):
        log.write(row(k, generator))
    log.close()
    data, whole = path.read_bytes(), read_log(path)
    with open(path, "rb") as file:
        chunks = make_reader(file).get_summary().chunk_indexes
    ends = [(index.chunk_start_offset + index.chunk_length, index) for index in chunks]
    assert len(ends) > 3
    sizes = np.cumsum([len(whole.scalars["time_ns"][_within(whole, index)]) for _, index in ends])
    cut, read = tmp_path / "cut.mcap", 0
    every = sorted({*range(0, len(data), step), *(end + d for end, _ in ends for d in (-1, 0, 1)), len(data) - 1})
    for length in every:
        cut.write_bytes(data[:length])
        complete = int(np.sum([end <= length for end, _ in ends]))
        if complete == 0:
            continue
        found, read = read_log(cut), read + 1
        # A reader may also give the messages of the chunk that is cut.
        assert len(found.x) >= sizes[complete - 1]
        np.testing.assert_array_equal(found.x, whole.x[: len(found.x)])
    assert sizes[-1] == 120
    return read


def test_a_cut_at_any_byte_leaves_every_complete_chunk(tmp_path):
    assert cuts_that_hold(tmp_path, 37) > 500


@pytest.mark.slow
def test_a_cut_at_every_single_byte_leaves_every_complete_chunk(tmp_path):
    assert cuts_that_hold(tmp_path, 1) > 10_000


def _within(record, index):
    time_ns = record.scalars["time_ns"]
    return (time_ns >= index.message_start_time) & (time_ns <= index.message_end_time)


def test_what_is_recovered_is_a_whole_file(tmp_path):
    path, generator = tmp_path / "run.mcap", np.random.default_rng(1)
    log = LogFile(path, HEADER, {})
    for k in range(200):
        log.write(row(k, generator))
    log.close()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(path.read_bytes()[:-5000])
    assert not read_log(cut).whole
    rows = recover(cut, tmp_path / "recovered.mcap")
    again = read_log(tmp_path / "recovered.mcap")
    assert again.whole
    assert rows == len(again.x) > 100
    np.testing.assert_array_equal(again.x, read_log(path).x[:rows])
    with pytest.raises(ModelError, match="exists"):
        recover(cut, tmp_path / "recovered.mcap")


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100, bytes(5000)])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.mcap"
    path.write_bytes(content)
    with pytest.raises(FileFormatError):
        read_log(path)


def ends_well(path):
    """Whether the writer has closed the file; before its first chunk it is no log yet."""
    try:
        return read_log(path).whole
    except FileFormatError:
        return False


def test_the_log_ends_well_when_the_loop_is_killed(tmp_path, wait_for):
    path = tmp_path / "run.mcap"
    code = (
        "import sys, time, numpy as np\n"
        "from yannctl.hil.flight_log import FlightLog, LogHeader\n"
        "from yannctl.hil.tick import LoopTick\n"
        "log = FlightLog(sys.argv[1], LogHeader(('a',), ('u',), ('',), ('',), 0.1)).__enter__()\n"
        "for k in range(1000): log.ticked(LoopTick(*[k] * 10, np.array([float(k)]), *[np.zeros(1)] * 3))\n"
        "print('put', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"put\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: ends_well(path))
    np.testing.assert_array_equal(read_log(path).x[:, 0], np.arange(1000))


def test_a_full_ring_counts_and_never_waits():
    ring = RowRing(2, 4)
    other = RowRing(2, 4, ring.name)
    assert [ring.put(np.array([k, -k], float)) for k in range(6)] == [True] * 4 + [False] * 2
    assert ring.lost == other.lost == 2
    np.testing.assert_array_equal(other.take()[:, 0], [0, 1, 2, 3])
    for k in range(6, 9):
        ring.put(np.array([k, -k], float))
    np.testing.assert_array_equal(other.take()[:, 0], [6, 7, 8])
    ring.finish()
    assert other.closed
    other.close()
    ring.close()


def test_parquet_has_named_columns(tmp_path):
    with FlightLog(tmp_path / "run.mcap", HEADER) as log:
        written = [put(log, k, np.random.default_rng(k)) for k in range(20)]
    assert to_parquet(tmp_path / "run.mcap", tmp_path / "run.parquet") == 20
    table = pyarrow.parquet.read_table(tmp_path / "run.parquet").to_pydict()
    assert table["speed"] == [values[10] for values in written]
    assert table["torque"] == [values[12] for values in written]
    assert table["torque_asked"] == [values[11] for values in written]
