"""Arrays and files that several tests of the command line use."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure


@pytest.fixture
def field():
    values = np.random.default_rng(1).gamma(2.0, size=(30, 40))
    values[0, :3] = np.nan
    values[1, :2] = [np.inf, -np.inf]
    return values


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="session")
def open_fonts():
    """Open the font files of matplotlib, which stay open, before tests look for leaks."""
    figure = Figure()
    figure.text(0, 0, "text")
    figure.savefig(io.BytesIO())
