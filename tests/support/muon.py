"""A mark for tests that need torch's Muon, and the parameter ``"muon"`` with it."""

import pytest
import torch

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="Muon needs torch 2.9 or newer")
MUON = pytest.param("muon", marks=needs_muon)
